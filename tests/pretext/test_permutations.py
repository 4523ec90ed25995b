# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import pytest
import torch

from universal_model_components.pretext.permutations import draw_permutations, hamming_distances


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_set_is_as_far_apart_as_the_published_one(seed):
    rows = draw_permutations(seed=seed).tolist()
    assert len(rows) == 100
    assert all(sorted(row) == list(range(27)) for row in rows)
    pairs = itertools.combinations(rows, 2)
    distances = [sum(a != b for a, b in zip(first, second, strict=True)) for first, second in pairs]
    assert min(distances) >= 19
    assert sum(distances) / len(distances) == pytest.approx(26, abs=0.1)


def test_the_seed_decides():
    assert torch.equal(draw_permutations(seed=5), draw_permutations(seed=5))
    assert not torch.equal(draw_permutations(seed=5), draw_permutations(seed=6))


def test_permutations_that_are_too_near_are_drawn_again():
    rows = draw_permutations(count=4, pieces=4, least=4)
    distances = hamming_distances(rows, rows)
    assert distances.tolist() == [[0 if i == j else 4 for j in range(4)] for i in range(4)]


def test_more_than_there_are_is_an_error_of_one_line():
    with pytest.raises(ValueError, match=r"^count: found 2 of 3 permutations of 2 pieces that differ in 1 places: ask"):
        draw_permutations(count=3, pieces=2, least=1)
