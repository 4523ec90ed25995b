# SPDX-License-Identifier: Apache-2.0
"""Random numbers from (seed, stream, position): known values, reproducibility, uniformity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from universal_model_components.method.counter_rng import fields, noise, random_bits, uniform

SEEDS = torch.arange(40)  # neighboring seeds are the hard case


def split_mix(seed: int, stream: int, position: int) -> int:
    """The same number in Python's unbounded integers."""
    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    state = mix((mix((seed + 0x9E3779B97F4A7C15) & mask) + stream) & mask)
    value = mix((state + position * 0x9E3779B97F4A7C15) & mask)
    return value - (1 << 64) if value >= 1 << 63 else value


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, -5])
@pytest.mark.parametrize("stream", [0, 3])
def test_bits_are_those_of_split_mix(seed, stream):
    bits = random_bits(torch.tensor([seed]), stream, 5)[0].tolist()
    assert bits == [split_mix(seed, stream, position) for position in range(1, 6)]


@pytest.mark.parametrize(
    "draw",
    [lambda s: uniform(s, 1, 30), lambda s: noise(s, 1, (3, 5, 7)), lambda s: fields(s, 1, 2, 9)],
    ids=["uniform", "noise", "fields"],
)
def test_samples_do_not_depend_on_the_batch(draw):
    together = draw(SEEDS)
    order = torch.randperm(len(SEEDS))
    assert torch.equal(draw(SEEDS[order]), together[order])
    for i in (0, 7):
        assert torch.equal(draw(SEEDS[i : i + 1])[0], together[i])


def test_prefix_does_not_depend_on_the_count():
    assert torch.equal(uniform(SEEDS, 0, 100)[:, :20], uniform(SEEDS, 0, 20))


@pytest.mark.parametrize(
    "numbers",
    [uniform(SEEDS, 2, 500), noise(SEEDS, 2, (500,)), fields(SEEDS, 2, 1, 200) / 2**21],
    ids=["uniform", "noise", "fields"],
)
def test_numbers_are_uniform_and_unrelated(numbers):
    numbers = numbers.flatten(1).numpy().astype(np.float64)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(numbers)[np.triu_indices(len(numbers), 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(numbers.shape[1])


def test_streams_differ():
    assert not torch.equal(uniform(SEEDS, 0, 10), uniform(SEEDS, 1, 10))


@pytest.mark.parametrize("seeds", [torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2)])
def test_ill_formed_seeds_are_named(seeds):
    with pytest.raises(ValueError, match=r"seeds: expected int64 of shape \(B,\), found torch\.\w+ of shape"):
        random_bits(seeds, 0, 1)
