# SPDX-License-Identifier: Apache-2.0
"""Voxel grids in space: orientation, spacing, equality of two grids, and resampling from one to another.

An affine is (4, 4) and maps voxel indices to mm, RAS. Nothing is rotated: grids must have parallel axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import torch
from torch import Tensor

from .errors import ScanError
from .resampling import resample_to_grid

GRID_TOLERANCE = 0.1  # of the smallest voxel side: how far a label's corner may lie from its image's
FORM_TOLERANCE = 1e-3  # mm: how far apart a NIfTI's sform and qform may place a corner
PARALLEL_TOLERANCE = 1e-3  # voxels of drift for each voxel along another axis


class Grid(NamedTuple):
    """The voxels of a file in space.

    Args:
        file: name of the file, for messages.
        shape: sides in voxels.
        affine: voxel → mm.
    """

    file: str | Path
    shape: Sequence[int]
    affine: np.ndarray


def check_same_grid(label: Grid, image: Grid, advice: str | None = None) -> None:
    """Check that a label, or a prediction, has the voxel grid of its image.

    Args:
        label: what is checked.
        image: what it belongs to.
        advice: what to do otherwise; by default to give another label, or to resample it.

    Raises:
        ScanError: when shapes differ, or corners are more than `GRID_TOLERANCE` apart; one line with both files.
    """
    found, expected = tuple(label.shape), tuple(image.shape)
    if found != expected:
        advice = advice or "give a label of its image"
        raise ScanError(f"{label.file}: shape {found}, expected {expected} of {image.file}: {advice}")
    drift = corner_distance(label.affine, image.affine, expected)
    if not drift <= GRID_TOLERANCE * min(spacing_of(image.affine)):  # NaN too
        advice = advice or "resample the label, or repair its header"
        raise ScanError(f"{label.file}: its corners lie up to {drift:.3g} mm from those of {image.file}: {advice}")


def corner_distance(affine: np.ndarray, expected: np.ndarray, shape: Sequence[int]) -> float:
    """Return the largest distance, in mm along one axis, between corresponding corners of two grids.

    Args:
        affine: voxel → mm.
        expected: the affine to compare with.
        shape: of both, in voxels.
    """
    corners = np.array([[*(np.unravel_index(i, (2, 2, 2)) * (np.asarray(shape) - 1)), 1.0] for i in range(8)])
    return float(np.abs((corners @ (affine - expected).T)[:, :3]).max())


def to_ras(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flip and permute axes to the closest RAS; nothing is rotated or interpolated."""
    orientation = nibabel.io_orientation(affine)
    turned = nibabel.apply_orientation(voxels, orientation)
    return turned, affine @ nibabel.orientations.inv_ornt_aff(orientation, voxels.shape)


def spacing_of(affine: np.ndarray) -> tuple[float, ...]:
    """Return the voxel sides in mm: the lengths of the affine's first three columns."""
    return tuple(float(side) for side in np.linalg.norm(affine[:3, :3], axis=0))


def shear_of(affine: np.ndarray) -> float:
    """Return by how many degrees the axes deviate from right angles, at most: 0 for a rotated grid."""
    axes = affine[:3, :3] / np.maximum(spacing_of(affine), np.finfo(np.float64).tiny)
    cosines = (axes.T @ axes)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(np.abs(cosines).clip(0, 1).max())))


def check_affine(file: str | Path, affine: np.ndarray) -> None:
    """Reject a singular affine: the parallelepiped of its unit directions has (almost) no volume."""
    if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-6 * np.prod(spacing_of(affine)):
        return
    raise ScanError(f"{file}: singular affine {affine[:3, :3].tolist()}: repair the header's orientation")


def grid_positions(
    affine: np.ndarray, target_affine: np.ndarray, target_shape: Sequence[int]
) -> tuple[list[np.ndarray], list[int]]:
    """Find where the voxels of one grid lie in another with parallel axes, flipped, permuted, shifted or scaled.

    Args:
        affine: voxel → mm of the grid to sample.
        target_affine: voxel → mm of the grid whose voxels are sought.
        target_shape: its sides in voxels.

    Returns:
        For each axis of the first grid the positions on it, in its voxels, and which of its axes each target axis is.

    Raises:
        ValueError: when the axes are not parallel.
    """
    mapping = np.linalg.inv(affine) @ target_affine  # target voxel → voxel
    axes = np.abs(mapping[:3, :3]).argmax(axis=0).tolist()
    steps = np.array([mapping[axis, target] for target, axis in enumerate(axes)])
    rest = mapping[:3, :3].copy()
    rest[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or np.abs(rest).max() > PARALLEL_TOLERANCE:
        raise ValueError(f"affines: axes of {affine.tolist()} and {target_affine.tolist()} are not parallel")
    along = [mapping[axis, 3] + steps[target] * np.arange(target_shape[target]) for target, axis in enumerate(axes)]
    return [along[axes.index(axis)] for axis in range(3)], axes


def resample_to_affine(
    volume: Tensor, affine: np.ndarray, target_affine: np.ndarray, target_shape: Sequence[int]
) -> Tensor:
    """Sample the third-order spline through a volume on the voxels of another grid with parallel axes.

    Beyond the volume's ends its outermost voxels are repeated (edge padding).

    Args:
        volume: any number of leading axes.
        affine: voxel → mm of the volume.
        target_affine: voxel → mm of the result.
        target_shape: of the result.

    Shape:
        volume (..., H, W, D) → (..., *target_shape).

    Raises:
        ValueError: when the axes are not parallel.
    """
    positions, axes = grid_positions(affine, target_affine, target_shape)
    sampled = resample_to_grid(volume, [where.tolist() for where in positions])
    leading = range(volume.ndim - 3)
    return sampled.permute(*leading, *(volume.ndim - 3 + axis for axis in axes)).contiguous()


def nearest_on_grid(mask: Tensor, affine: np.ndarray, target_affine: np.ndarray, target_shape: Sequence[int]) -> Tensor:
    """Sample a mask at the nearest voxels of another grid with parallel axes; edge padding beyond its ends.

    Shape:
        mask (..., H, W, D) → (..., *target_shape).

    Raises:
        ValueError: when the axes are not parallel.
    """
    positions, axes = grid_positions(affine, target_affine, target_shape)
    for axis, where in enumerate(positions):
        # half-way positions round to one side along the whole axis, despite rounding errors
        nearest = np.floor(where + 0.5 + 1e-6).clip(0, mask.shape[axis - 3] - 1).astype(np.int64)
        mask = mask.index_select(mask.ndim - 3 + axis, torch.from_numpy(nearest).to(mask.device))
    leading = mask.ndim - 3
    return mask.permute(*range(leading), *(leading + axis for axis in axes)).contiguous()
