# SPDX-License-Identifier: Apache-2.0
"""Random sampling for local shuffling (paper III-A): each cube's blocks and their permutations, from the cube's seed.

`local_shuffling` applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .counter_rng import fields, random_bits
from .local_shuffling import Blocks, block_classes, largest_block

BLOCKS = 10_000  # blocks for each cube
PERMUTATIONS = 4  # first (and second) permutations for each cube and class of blocks

_BLOCKS, _ORDERS = 1, 2  # streams of random numbers of one seed


def draw_blocks(seeds: Tensor, shape: Sequence[int], count: int = BLOCKS) -> Blocks:
    """Draw the blocks of local shuffling: sides uniform in 1 to ⌊side/10⌋ (at least 1), positions uniform in the cube.

    Each block's permutation is uniform: a first and a second uniform permutation around a cyclic shift. A cube draws
    four of each for every class of blocks, and each block picks one of them, so blocks of one cube may be correlated.
    Drawing all 10,000 independently would sort 245 thousand keys per cube, not 21, and dominate the run time.

    Args:
        seeds: one int64 seed for each cube.
        shape: the cubes' spatial shape in voxels.
        count: blocks for each cube.

    Shape:
        seeds (B,) → Blocks of (B, …), on the seeds' device.
    """
    size, position, pick = fields(seeds, _BLOCKS, 3, count).unflatten(1, (3, 3)).unbind(1)
    cube = tuple(shape)
    sides = torch.stack([1 + (size[:, i] * most >> 21) for i, most in enumerate(largest_block(cube))], 1)
    starts = torch.stack([position[:, i] * (cube[i] + 1 - sides[:, i]) >> 21 for i in range(3)], 1)
    first, second, shift = pick.unbind(1)
    picks = [first * PERMUTATIONS >> 21, second * PERMUTATIONS >> 21, shift * sides.prod(1) >> 21]
    return Blocks(starts, sides, draw_orders(seeds, shape), torch.stack(picks, 1))


def draw_orders(seeds: Tensor, shape: Sequence[int]) -> Tensor:
    """Draw uniform permutations of every class of blocks: (B,) → (B, 2, PERMUTATIONS, sum of volumes) int64.

    One sort of (sample, permutation, class | 28 random bits | lane): no two keys are equal, so all devices agree.
    """
    fixed, classes, lane_bits = _lane_keys(tuple(shape), seeds.device)
    lanes, rows = len(fixed), 2 * PERMUTATIONS * len(seeds)
    keys = random_bits(seeds, _ORDERS, 2 * PERMUTATIONS * lanes).view(rows, lanes)
    keys = keys.bitwise_and_((1 << 28) - 1).bitwise_left_shift_(lane_bits).add_(fixed)
    keys = keys.add_(torch.arange(rows, device=seeds.device)[:, None] * classes << 28 + lane_bits)
    keys = keys.flatten().sort().values
    return keys.bitwise_and_((1 << lane_bits) - 1).view(len(seeds), 2, PERMUTATIONS, lanes)


@lru_cache(maxsize=16)
def _lane_keys(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, int, int]:
    """The part of a sort key that is not random, (class | 0 | lane), the number of classes and the bits of a lane."""
    volume = block_classes(shape).prod(1)
    lane_bits = int(volume.max()).bit_length()
    lane = torch.arange(int(volume.sum())) - (volume.cumsum(0) - volume).repeat_interleave(volume)
    return ((torch.repeat_interleave(volume) << 28 + lane_bits) + lane).to(device), len(volume), lane_bits
