# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import pytest

from universal_model_components.training.sampling import BalancedBatchSampler

LABELS = [0] * 10 + [1] * 4
TABLE = [
    [{"batch_size": 4}, 5],
    [{"batch_size": 3}, 7],
    [{"batch_size": 6}, 4],
    [{"batch_size": 2, "world_size": 2}, 5],
]


@pytest.mark.parametrize(("kwargs", "steps"), TABLE)
def test_an_epoch_sees_the_largest_modality_once(kwargs, steps):
    sampler = BalancedBatchSampler(LABELS, **kwargs)
    assert len(sampler) == steps == len(list(sampler))


def epochs(count, **kwargs):
    sampler, batches = BalancedBatchSampler(LABELS, **kwargs), []
    for epoch in range(count):
        sampler.start_step = epoch * len(sampler)
        batches += list(sampler)
    return batches


@pytest.mark.parametrize("batch_size", [2, 3, 4, 6])
def test_batches_are_balanced(batch_size):
    for batch in epochs(3, batch_size=batch_size):
        count = Counter(LABELS[index] for index, _ in batch)
        assert len(batch) == batch_size
        assert abs(count[0] - count[1]) <= 1


@pytest.mark.parametrize("kwargs", [{"batch_size": 3}, {"batch_size": 2, "world_size": 3}])
def test_no_cube_twice_before_every_cube_of_its_modality_once(kwargs):
    ranks = [epochs(4, rank=rank, **kwargs) for rank in range(kwargs.get("world_size", 1))]
    slots = {seed: index for batches in ranks for batch in batches for index, seed in batch}
    drawn = [slots[seed] for seed in sorted(slots)]  # seeds count the slots of the one sequence
    for label, size in ((0, 10), (1, 4)):
        stream = [index for index in drawn if LABELS[index] == label]
        for start in range(0, len(stream) - size + 1, size):
            assert sorted(stream[start : start + size]) == [i for i, other in enumerate(LABELS) if other == label]


def test_ranks_together_see_what_one_process_sees():
    one = epochs(2, batch_size=6)
    ranks = [epochs(2, batch_size=2, rank=rank, world_size=3) for rank in range(3)]
    assert [sorted(batch) for batch in one] == [sorted(sum(parts, [])) for parts in zip(*ranks, strict=True)]


def test_ranks_with_odd_batches_balance_over_steps():
    for rank in range(2):
        count = Counter(
            LABELS[index] for batch in epochs(4, batch_size=1, rank=rank, world_size=2) for index, _ in batch
        )
        assert abs(count[0] - count[1]) <= 1


def test_resumes_anywhere():
    everything = epochs(2, batch_size=4)
    sampler = BalancedBatchSampler(LABELS, 4)
    sampler.start_step = 7
    assert list(sampler) == everything[7:10]


def test_seeds_of_corruption_never_repeat_and_differ_from_those_of_validation():
    seeds = [seed for batch in epochs(5, batch_size=4) for _, seed in batch]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 1 << 40


def test_shuffles_differ_by_seed_and_cycle():
    first, second = epochs(1, batch_size=4, seed=1), epochs(1, batch_size=4, seed=2)
    assert first != second
    stream = [index for batch in epochs(2, batch_size=4) for index, _ in batch if index < 10]
    assert stream[:10] != stream[10:20]


def test_one_modality_alone():
    drawn = [index for batch in BalancedBatchSampler([1] * 5, 5) for index, _ in batch]
    assert sorted(drawn) == list(range(5))


@pytest.mark.parametrize(
    ("labels", "kwargs", "message"),
    [
        [[], {"batch_size": 1}, "labels is empty"],
        [[0], {"batch_size": 0}, "batch_size must be positive"],
        [[0], {"batch_size": 1, "rank": 2, "world_size": 2}, "rank below world_size"],
    ],
)
def test_bad_arguments(labels, kwargs, message):
    with pytest.raises(ValueError, match=message):
        BalancedBatchSampler(labels, **kwargs)


def test_an_epoch_of_the_smallest_label_sees_other_cubes_of_the_largest_each_time():
    labels = [0] * 90 + [1] * 6
    sampler = BalancedBatchSampler(labels, batch_size=4, seed=3, epoch="smallest")
    assert len(sampler) == 3
    seen = []
    for epoch in range(15):
        sampler.start_step = epoch * len(sampler)
        cubes = [cube for batch in sampler for cube, _ in batch]
        assert sorted(cube for cube in cubes if cube >= 90) == list(range(90, 96))
        seen += [cube for cube in cubes if cube < 90]
    assert sorted(seen) == list(range(90))


def test_unknown_epoch():
    with pytest.raises(ValueError, match="epoch: got 'median'"):
        BalancedBatchSampler([0, 1], batch_size=2, epoch="median")
