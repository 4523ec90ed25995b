# SPDX-License-Identifier: Apache-2.0
"""Slow, independent references: one cube, one voxel at a time, in NumPy, written from the definitions."""

from __future__ import annotations

import itertools

import numpy as np


def voxels(shape: tuple[int, ...]):
    return itertools.product(*(range(side) for side in shape))


def flip(cube: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Mirror a cube (C, H, W, D) along the axes marked in (3,)."""
    out = np.empty_like(cube)
    sides = cube.shape[1:]
    for voxel in voxels(sides):
        mirror = tuple(n - 1 - v if flipped else v for v, n, flipped in zip(voxel, sides, axes, strict=True))
        out[(slice(None), *voxel)] = cube[(slice(None), *mirror)]
    return out


def block_order(side: tuple[int, ...], largest: tuple[int, ...], orders: np.ndarray, pick: np.ndarray) -> list[int]:
    """Which voxel of a block each of its voxels is filled from: two permutations around a cyclic shift."""
    begin = 0
    for other in itertools.product(*(range(1, most + 1) for most in largest)):
        if other == tuple(side):
            break
        begin += int(np.prod(other))
    volume = int(np.prod(side))
    first, second, shift = (int(p) for p in pick)
    inner = [int(v) for v in orders[0, first, begin : begin + volume]]
    outer = [int(v) for v in orders[1, second, begin : begin + volume]]
    return [outer[(inner[r] + shift) % volume] for r in range(volume)]


def shuffle(
    cube: np.ndarray, starts: np.ndarray, sides: np.ndarray, orders: np.ndarray, picks: np.ndarray
) -> np.ndarray:
    """Shuffle blocks of a cube (C, H, W, D), each from the original; starts, sides and picks are (3, N)."""
    largest = tuple(max(1, n // 10) for n in cube.shape[1:])
    out = cube.copy()
    for start, side, pick in zip(starts.T, sides.T, picks.T, strict=True):
        inside = list(voxels(tuple(side)))
        for r, source in enumerate(block_order(tuple(side), largest, orders, pick)):
            here, there = (tuple(s + v for s, v in zip(start, inside[i], strict=True)) for i in (r, source))
            out[(slice(None), *here)] = cube[(slice(None), *there)]
    return out


def bezier_map(values: np.ndarray, control: np.ndarray, decreasing: bool, points: int = 200_000) -> np.ndarray:
    """The Bézier curve's height over each value, by following the curve in very small steps."""
    t = np.linspace(0, 1, points)
    (x1, y1), (x2, y2) = control.astype(np.float64)
    x = 3 * (1 - t) ** 2 * t * x1 + 3 * (1 - t) * t**2 * x2 + t**3
    y = 3 * (1 - t) ** 2 * t * y1 + 3 * (1 - t) * t**2 * y2 + t**3
    return np.interp(values, x, y[::-1] if decreasing else y)


def paint(cube: np.ndarray, boxes: np.ndarray, noise: np.ndarray, outer: bool) -> np.ndarray:
    """Noise inside the boxes (N, 2, 3), or outside all of them."""
    out = cube.copy()
    for voxel in voxels(cube.shape[1:]):
        covered = any(all(low[i] <= voxel[i] < high[i] for i in range(3)) for low, high in boxes)
        if covered != outer:
            out[(slice(None), *voxel)] = noise[(slice(None), *voxel)]
    return out


def mask(cube: np.ndarray, masked: np.ndarray, side: int) -> np.ndarray:
    """Set every voxel of a cube (C, H, W, D) to 0 that lies in a masked block; masked is (h, w, d)."""
    out = cube.copy()
    for voxel in voxels(cube.shape[1:]):
        if masked[tuple(v // side for v in voxel)]:
            out[(slice(None), *voxel)] = 0
    return out
