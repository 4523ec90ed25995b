# SPDX-License-Identifier: Apache-2.0
"""Axial, coronal and sagittal planes of a volume: choice, orientation and mosaic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def plane_slices(volume: np.ndarray, at: Sequence[int]) -> list[np.ndarray]:
    """The three planes through a voxel, in radiological orientation (patient's right on the left).

    Args:
        volume: values along right, front, up.
        at: the voxel.

    Shape:
        volume (H, W, D) → axial (W, H), coronal (D, H), sagittal (D, W), first row at the bottom.
    """
    x, y, z = at
    return [volume[::-1, :, z].T, volume[::-1, y, :].T, volume[x].T]


def informative_voxel(original: np.ndarray, corrupted: np.ndarray) -> tuple[int, int, int]:
    """Voxel whose planes show a corruption best: along each axis, where the change and the contrast are largest.

    The middle is kept along an axis where its score is at least half of the best, because readers expect the middle.

    Shape:
        original and corrupted (H, W, D).
    """
    changed, best = np.abs(corrupted - original), []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        profile = changed.mean(others) * (original.std(others) + 1e-3)
        middle, top = len(profile) // 2, int(profile.argmax())
        best.append(middle if profile[middle] >= 0.5 * profile[top] else top)
    return best[0], best[1], best[2]


def mosaic(slices: Sequence[np.ndarray], gap: int = 2) -> np.ndarray:
    """One picture of the three planes, NaN between them.

    Where the cube is at most half as high as its axial plane, coronal over sagittal beside it; else all three in a row.
    """
    axial, coronal, sagittal = slices
    if coronal.shape[0] + sagittal.shape[0] > axial.shape[0]:
        return _beside(slices, gap)
    height, wide = axial.shape[0] + gap, max(coronal.shape[1], sagittal.shape[1])
    stack = np.full((height, wide), np.nan, np.float32)
    stack[: sagittal.shape[0], : sagittal.shape[1]] = sagittal
    stack[height - coronal.shape[0] :, : coronal.shape[1]] = coronal
    return _beside([axial, stack], gap)


def _beside(slices: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Pictures in a row, their lower edges in line."""
    height, width = max(s.shape[0] for s in slices), sum(s.shape[1] + gap for s in slices) - gap
    picture, left = np.full((height, width), np.nan, np.float32), 0
    for part in slices:
        picture[: part.shape[0], left : left + part.shape[1]] = part
        left += part.shape[1] + gap
    return picture
