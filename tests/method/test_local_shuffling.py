# SPDX-License-Identifier: Apache-2.0
"""Local shuffling against a slow reference that writes block after block."""

from __future__ import annotations

import numpy as np
import pytest
import references
import torch

from universal_model_components.method.block_sampling import draw_blocks
from universal_model_components.method.local_shuffling import (
    Blocks,
    block_classes,
    block_orders,
    largest_block,
    shuffle_blocks,
)


@pytest.mark.parametrize(
    ("count", "shape"),
    [
        (1, (1, 1, 16, 16, 8)),
        (300, (3, 1, 20, 20, 10)),
        (300, (2, 2, 31, 24, 12)),
        (1500, (2, 1, 32, 40, 32)),
        (400, (1, 1, 64, 32, 20)),
        (50, (1, 1, 5, 6, 7)),
        (40, (1, 1, 90, 20, 100)),
    ],
)
def test_shuffle_matches_reference(count, shape, generator):
    cubes = torch.rand(shape, generator=generator)
    blocks = draw_blocks(torch.arange(shape[0]), shape[2:], count)
    shuffled = shuffle_blocks(cubes, blocks).numpy()
    samples = zip(
        cubes.numpy(), *(p.numpy() for p in (blocks.starts, blocks.sides, blocks.orders, blocks.picks)), strict=True
    )
    assert np.array_equal(shuffled, np.stack([references.shuffle(*sample) for sample in samples]))


def test_more_blocks_than_a_short_integer_counts(generator):
    cubes = torch.rand(1, 1, 20, 20, 10, generator=generator)
    blocks = draw_blocks(torch.tensor([5]), cubes.shape[2:], 2**15 + 100)
    sample = [p[0].numpy() for p in (cubes, blocks.starts, blocks.sides, blocks.orders, blocks.picks)]
    assert np.array_equal(shuffle_blocks(cubes, blocks)[0].numpy(), references.shuffle(*sample))


def test_batched_equals_one_by_one(generator):
    cubes = torch.rand(4, 2, 32, 32, 20, generator=generator)
    blocks = draw_blocks(torch.arange(4), cubes.shape[2:], 500)
    together = shuffle_blocks(cubes, blocks)
    for i in range(4):
        one = Blocks(*(p[i : i + 1] for p in blocks))
        assert torch.equal(shuffle_blocks(cubes[i : i + 1], one)[0], together[i])


def test_voxels_under_no_block_are_untouched():
    cubes = torch.rand(1, 1, 32, 32, 32)
    blocks = draw_blocks(torch.tensor([3]), cubes.shape[2:], 20)
    covered = torch.zeros(32, 32, 32, dtype=torch.bool)
    for (x, y, z), (a, b, c) in zip(blocks.starts[0].T.tolist(), blocks.sides[0].T.tolist(), strict=True):
        covered[x : x + a, y : y + b, z : z + c] = True
    assert torch.equal(shuffle_blocks(cubes, blocks)[0, 0][~covered], cubes[0, 0][~covered])


def test_block_orders_are_permutations():
    shape = (60, 60, 30)
    blocks = draw_blocks(torch.tensor([1]), shape, 500)
    volumes = blocks.sides[0].prod(0).tolist()
    for order, volume in zip(block_orders(blocks, 0, shape), volumes, strict=True):
        assert sorted(order.tolist()) == list(range(volume))


@pytest.mark.parametrize(("shape", "largest"), [((64, 64, 32), (6, 6, 3)), ((16, 20, 9), (1, 2, 1))])
def test_largest_block(shape, largest):
    assert largest_block(shape) == largest
    assert block_classes(shape)[-1].tolist() == list(largest)
    assert len(block_classes(shape)) == np.prod(largest)


@pytest.mark.parametrize(
    ("start", "side", "message"),
    [
        ((0, 0, 30), (1, 1, 3), r"starts at \(0, 0, 30\) with sides \(1, 1, 3\)"),
        (
            (0, 0, 0),
            (4, 1, 1),
            r"sides \(4, 1, 1\); expected sides from 1 to \(3, 3, 3\), inside the cube \(32, 32, 32\)",
        ),
        ((-1, 0, 0), (1, 1, 1), r"starts at \(-1, 0, 0\)"),
        ((0, 0, 0), (1, 0, 1), r"sides \(1, 0, 1\)"),
    ],
)
def test_blocks_that_do_not_fit_are_named(start, side, message):
    blocks = draw_blocks(torch.arange(2), (32, 32, 32), 5)
    blocks.starts[1, :, 4], blocks.sides[1, :, 4] = torch.tensor(start), torch.tensor(side)
    with pytest.raises(ValueError, match=r"blocks: block 4 of sample 1 .*" + message):
        shuffle_blocks(torch.zeros(2, 1, 32, 32, 32), blocks)
