# SPDX-License-Identifier: Apache-2.0
"""Local shuffling (paper III-A) as table look-ups: the topmost block at each voxel, and the voxel that it reads there.

The blocks overlap, so most of what a loop over blocks writes is overwritten. Here the last block over each voxel is
found first (every block marks a few windows, the windows are halved until they are voxels); then each voxel reads the
permutation of that one block. Everything that depends only on the cube's shape is tabulated once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .corruptions import check_cubes, gather_voxels


class Blocks(NamedTuple):
    """Blocks of local shuffling, N for each cube, and the permutations that they use.

    A block's class is its sides; `block_classes` lists the classes. Each cube has M first and M second permutations of
    every class, one class after the other in the last axis of `orders`: a class's part of `orders[b, 0, i]`, `first`,
    and of `orders[b, 1, j]`, `second`, permutes 0 … volume - 1. Voxel r (row-major) of a block with picks (i, j, s) is
    filled from its voxel `second[(first[r] + s) % volume]`: two permutations around a cyclic shift.

    Shape:
        starts, sides (B, 3, N) voxels; orders (B, 2, M, sum of the classes' volumes); picks (B, 3, N); all int64.
    """

    starts: Tensor
    sides: Tensor
    orders: Tensor
    picks: Tensor


def shuffle_blocks(cubes: Tensor, blocks: Blocks) -> Tensor:
    """Permute the voxels inside small blocks (local shuffling, paper III-A).

    Every block is shuffled from the original cube; where blocks overlap the later one wins.

    Args:
        cubes: sub-volumes.
        blocks: N blocks for each cube, with their permutations.

    Shape:
        cubes (B, C, H, W, D) → (B, C, H, W, D).

    Raises:
        ValueError: when a side is larger than `largest_block` or a block extends beyond the cube (checked on the CPU
            only: on CUDA the check would synchronize with the device).
    """
    shape = check_cubes(cubes)
    _check_blocks(blocks, shape)
    last = _last_block(blocks, shape)
    shuffled = gather_voxels(cubes, _source_voxels(blocks, last, shape))
    covered = last.clamp(max=1).to(cubes.dtype).view(len(cubes), 1, *shape)
    return torch.lerp(cubes, shuffled, covered)  # exact for weights 0 and 1, several times as fast as torch.where


def largest_block(shape: Sequence[int]) -> tuple[int, int, int]:
    """Largest sides of a shuffled block: a tenth of the cube's, rounded down, and at least one voxel."""
    height, width, depth = (max(1, side // 10) for side in shape)
    return height, width, depth


def block_classes(shape: Sequence[int]) -> Tensor:
    """Sides of every block class of a cube of this shape, (classes, 3) int64, the depth varying fastest."""
    return 1 + _positions(largest_block(shape))


def block_orders(blocks: Blocks, sample: int, shape: Sequence[int]) -> list[Tensor]:
    """One sample's permutations, block by block: voxel r of a block is filled from its voxel `orders[block][r]`."""
    volume = block_classes(shape).prod(1)
    first = volume.cumsum(0) - volume
    orders = []
    for kind, (i, j, shift) in zip(_classes(blocks.sides, shape)[sample], blocks.picks[sample].mT, strict=True):
        lanes = slice(int(first[kind]), int(first[kind] + volume[kind]))
        inner, outer = blocks.orders[sample, 0, i, lanes], blocks.orders[sample, 1, j, lanes]
        orders.append(outer[(inner + shift) % volume[kind]])
    return orders


class _Tables(NamedTuple):
    """What depends only on the cube's shape. A lane is a voxel of a class; a cell, a voxel of the largest block."""

    first_lane: Tensor  # (classes,) first lane of each class
    base: Tensor  # (lanes,) first lane of this lane's class
    step: Tensor  # (lanes,) int32, from a block's first voxel to this one, in the flat cube
    twice: Tensor  # (2 lanes,) the lanes of each class twice in a row: a cyclic shift becomes an addition
    lane: Tensor  # (classes * cells,) lane at each cell of each class
    cells: int
    grid: Tensor  # (H * W * D,) int32, in cells: its difference between two voxels of a block is that of their cells
    windows: Tensor  # (classes, K) where a block marks the window maps, relative to its first voxel
    levels: tuple[int, int, int]  # window maps along each axis


@lru_cache(maxsize=16)
def _tables(shape: tuple[int, int, int], device: torch.device) -> _Tables:
    """Build the tables of one cube shape on one device."""
    sides, largest = block_classes(shape), largest_block(shape)
    cells = math.prod(largest)
    inside = _positions(largest) < sides[:, None]
    of_lane, position = inside.all(2).nonzero().unbind(1)
    volume = sides.prod(1)
    first_lane = volume.cumsum(0) - volume
    lane = torch.zeros(len(sides) * cells, dtype=torch.int64)
    lane[of_lane * cells + position] = torch.arange(len(of_lane))
    twice = torch.repeat_interleave(2 * volume)
    twice = first_lane[twice] + (torch.arange(len(twice)) - 2 * first_lane[twice]) % volume[twice]
    windows, levels = _windows(sides, shape)
    return _Tables(
        first_lane.to(device),
        first_lane[of_lane].to(device),
        (_positions(largest)[position] @ _strides(shape)).int().to(device),
        twice.to(device),
        lane.to(device),
        cells,
        (_positions(shape) @ _strides(largest)).int().to(device),
        windows.to(device),
        levels,
    )


def _positions(shape: Sequence[int]) -> Tensor:
    """Coordinates of every voxel of an array, (H * W * D, 3) int64, the depth varying fastest."""
    return torch.cartesian_prod(*(torch.arange(side) for side in shape))


def _strides(shape: Sequence[int]) -> Tensor:
    """Steps in the flat array between neighbors along each of three axes."""
    return torch.tensor([shape[1] * shape[2], shape[2], 1])


def _windows(sides: Tensor, shape: Sequence[int]) -> tuple[Tensor, tuple[int, int, int]]:
    """Cover each class of block by windows whose sides are powers of two (or, up to three voxels, by single voxels).

    Map (i, j, k) holds, at a voxel, the last block of which a window with sides (2^i, 2^j, 2^k) starts there.
    """
    largest = largest_block(shape)
    levels = [1 if side <= 3 else side.bit_length() for side in largest]
    offsets = torch.zeros(len(sides), 1, dtype=torch.int64)
    map_step = math.prod(shape)
    for axis in (2, 1, 0):
        side = sides[:, axis, None]
        if levels[axis] == 1:
            level, starts = 0 * side, torch.arange(largest[axis]).minimum(side - 1)
        else:
            level = torch.tensor([int(s).bit_length() - 1 for s in side])[:, None]
            starts = torch.cat([0 * side, side - 2**level], 1)
        here = level * map_step + starts * _strides(shape)[axis]
        offsets = (offsets[:, :, None] + here[:, None]).flatten(1)
        map_step *= levels[axis]
    return offsets, (levels[0], levels[1], levels[2])


def _last_block(blocks: Blocks, shape: Sequence[int]) -> Tensor:
    """Number, from 1, of the last block that covers each voxel, or 0: (B, H * W * D)."""
    tables = _tables(shape, blocks.starts.device)
    batch, _, count = blocks.starts.shape
    first = _linear(blocks.starts, shape)
    maps = math.prod(tables.levels)
    index = tables.windows.index_select(0, _classes(blocks.sides, shape).flatten()).view(batch, count, -1)
    index = index.add_(first[:, :, None]).flatten(1)
    numbers = torch.arange(1, count + 1, dtype=torch.int16 if count < 2**15 else torch.int32, device=first.device)
    numbers = numbers[:, None].expand(-1, tables.windows.shape[1]).reshape(1, -1).expand(batch, -1)
    last = numbers.new_zeros(batch, maps * math.prod(shape)).scatter_reduce_(1, index, numbers, "amax")
    last = last.view(batch, *tables.levels, *shape)
    for axis, levels in enumerate(tables.levels):  # a window of 2w voxels is two windows of w
        for level in range(levels - 1, 0, -1):
            wide, narrow, width = last[:, level], last[:, level - 1], 2 ** (level - 1)
            torch.maximum(narrow, wide, out=narrow)
            dim, length = 3, shape[axis] - width
            moved = narrow.narrow(dim, width, length)
            torch.maximum(moved, wide.narrow(dim, 0, length), out=moved)
        last = last[:, 0]
    return last.flatten(1)


def _source_voxels(blocks: Blocks, last: Tensor, shape: Sequence[int]) -> Tensor:
    """Flat source position of each voxel, arbitrary where no block covers it: (B, H * W * D) int64."""
    tables = _tables(shape, last.device)
    batch, _, members, lanes = blocks.orders.shape
    margin = sum(shape) * math.prod(largest_block(shape))  # voxels covered by no block read here
    first, second = blocks.orders.unbind(1)
    lane_of_cell = first.flatten(0, 1).gather(1, tables.lane.expand(batch * members, -1)).int()
    step = _take(tables.step, second + tables.base).flatten(0, 1).gather(1, tables.twice.expand(batch * members, -1))

    classes = _classes(blocks.sides, shape)
    first, second, shift = blocks.picks.unbind(1)
    row = torch.arange(batch, device=last.device)[:, None] * members
    corner = _linear(blocks.starts, largest_block(shape))
    look_lane = (row + first) * tables.lane.shape[0] + classes * tables.cells + margin - corner
    look_step = ((row + second) * lanes + _take(tables.first_lane, classes)) * 2 + shift
    start = _linear(blocks.starts, shape)
    look_lane, look_step, start = (pad(table.int(), (1, 0)) for table in (look_lane, look_step, start))

    block = last + torch.arange(batch, dtype=torch.int32, device=last.device)[:, None] * start.shape[1]
    lane = _take(pad(lane_of_cell.flatten(), (margin, 0)), _take(look_lane, block).add_(tables.grid))
    source = _take(start, block).add_(_take(step, _take(look_step, block).add_(lane)))
    return source.long()


def _take(table: Tensor, index: Tensor) -> Tensor:
    """Entries of a table, for any shapes of both (on the CPU much faster than `table[index]`)."""
    return table.flatten().index_select(0, index.flatten()).view_as(index)


def _classes(sides: Tensor, shape: Sequence[int]) -> Tensor:
    """Class of blocks by their sides, in the order of `block_classes`: (B, 3, N) → (B, N)."""
    return _linear(sides - 1, largest_block(shape))


def _linear(corners: Tensor, shape: Sequence[int]) -> Tensor:
    """Flat position, in an array of this shape, of corners (B, 3, N) → (B, N)."""
    height, width, depth = corners.unbind(1)
    return (height * shape[1] + width) * shape[2] + depth


def _check_blocks(blocks: Blocks, shape: Sequence[int]) -> None:
    """Reject blocks that are too large or extend beyond the cube."""
    if blocks.sides.device.type != "cpu" or not blocks.sides.numel():
        return
    largest = largest_block(shape)
    most, length = torch.tensor(largest)[:, None], torch.tensor(tuple(shape))[:, None]
    room = length - blocks.starts - blocks.sides
    wrong = (blocks.starts | room | (blocks.sides - 1) | (most - blocks.sides)) < 0  # the sign of any of the four
    if wrong.any():
        sample, block = wrong.any(1).nonzero()[0].tolist()
        start, side = (tuple(corner[sample, :, block].tolist()) for corner in (blocks.starts, blocks.sides))
        raise ValueError(
            f"blocks: block {block} of sample {sample} starts at {start} with sides {side}; expected sides from 1 to"
            f" {largest}, inside the cube {tuple(shape)}"
        )
