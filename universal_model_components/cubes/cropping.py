# SPDX-License-Identifier: Apache-2.0
"""Multi-scale sub-volumes of a normalized scan (paper III-C, Fig. 2, Table I).

Crops of three scales, by default 1/2, 1/4 and 1/8 of each side, are drawn at random positions and resized to one
shape. The position of a crop depends only on the recipe's seed, the case id and the scale: not on order, workers or
other cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..imaging.hdf5 import quantize
from ..imaging.resampling import resize
from .recipe import SCALES, Recipe


@dataclass(frozen=True)
class Cubes:
    """The cubes of one case, large before medium before small.

    Args:
        values: cubes in [0, 1] as multiples of 1/`hdf5.LEVELS`.
        counts: number of cubes of each of `SCALES`; 0 where the scale was skipped.
        boxes: corners in mm from the first corner of the (cropped, resampled) volume, half-open.
        mostly_background: number of cubes that are still mostly background after all draws.

    Shape:
        values (N, H, W, D) uint16; boxes (N, 2, 3) float32.
    """

    values: np.ndarray
    counts: list[int]
    boxes: np.ndarray
    mostly_background: int


def crop_shape(shape: Sequence[int], fraction: float) -> tuple[int, ...]:
    """Return the sides in voxels of a crop: the fraction of each side of the volume, rounded."""
    return tuple(max(1, round(side * fraction)) for side in shape)


def scale_counts(shape: Sequence[int], spacing: Sequence[float], recipe: Recipe, name: str = "") -> list[int]:
    """Return the number of cubes of each scale from a volume of that shape and spacing; 0 for a skipped scale.

    Args:
        shape: of the resampled volume.
        spacing: of the resampled volume, mm.
        recipe: of the store.
        name: of the volume's data set.
    """
    crops = [crop_shape(shape, recipe.crop_fractions[scale]) for scale in SCALES]
    shortest = [min(n * side for n, side in zip(crop, spacing, strict=True)) for crop in crops]
    return [
        count if side >= recipe.minimum_crop else 0 for count, side in zip(recipe.cubes_of(name), shortest, strict=True)
    ]


def too_small(shape: Sequence[int], spacing: Sequence[float], recipe: Recipe) -> str:
    """Return the error message for a volume for which `scale_counts` gives no cube."""
    sides = [round(n * side, 1) for n, side in zip(shape, spacing, strict=True)]
    wrong = f"{sides} mm is too small for any scale with minimum_crop {recipe.minimum_crop:g} mm"
    return f"{wrong}: lower minimum_crop or remove the scan"


def draw_corners(
    shape: Sequence[int], crop: Sequence[int], count: int, tries: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw the first corners of crops, uniformly over all positions where the crop lies inside the volume.

    Shape:
        → (count, tries, 3), voxels.
    """
    places = np.asarray(shape) - np.asarray(crop) + 1
    return np.floor(generator.random((count, tries, 3)) * places).astype(np.int64)


def air_table(volume: Tensor, threshold: float) -> np.ndarray:
    """Compute the integral volume of the voxels below a threshold: any box's count is then a sum of eight entries.

    Shape:
        volume (H, W, D) → (H + 1, W + 1, D + 1).
    """
    table = np.zeros([side + 1 for side in volume.shape], dtype=np.int32)
    table[1:, 1:, 1:] = (volume < threshold).numpy()
    for axis in range(3):
        np.cumsum(table, axis=axis, out=table)
    return table


def air_shares(table: np.ndarray, corners: np.ndarray, crop: Sequence[int]) -> np.ndarray:
    """Compute the share of air in each crop.

    Args:
        table: of `air_table`.
        corners: first voxels of the crops.
        crop: their sides in voxels.

    Shape:
        corners (..., 3) → (...).
    """
    low, high = np.moveaxis(corners, -1, 0), np.moveaxis(corners + np.asarray(crop), -1, 0)
    total = np.zeros(corners.shape[:-1], dtype=np.int64)
    for choice in np.ndindex(2, 2, 2):
        index = tuple(high[axis] if upper else low[axis] for axis, upper in enumerate(choice))
        total += (-1) ** (3 - sum(choice)) * table[index].astype(np.int64)
    return total / np.prod(crop)


def choose_draw(shares: np.ndarray, limit: float) -> np.ndarray:
    """Choose the first draw whose share of air is within the limit, or the one with the least air when none is.

    Shape:
        shares (N, tries) → (N,) positions.
    """
    good = shares <= limit
    return np.where(good.any(axis=1), good.argmax(axis=1), shares.argmin(axis=1))


def case_generator(seed: int, case: str, scale: int) -> np.random.Generator:
    """Return the random generator of one scale of one case."""
    digest = hashlib.sha256(f"{seed}:{case}:{SCALES[scale]}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def cut_cubes(volume: Tensor, spacing: Sequence[float], recipe: Recipe, case: str, name: str = "") -> Cubes:
    """Cut the cubes of one normalized volume.

    Args:
        volume: in [0, 1], RAS.
        spacing: of the volume, mm.
        recipe: number and size of cubes, and the definition of air.
        case: id; with the recipe's seed it determines the positions of the crops.
        name: of the volume's data set.

    Raises:
        ValueError: when the volume is too small for every scale.

    Shape:
        volume (H, W, D).
    """
    counts = scale_counts(volume.shape, spacing, recipe, name)
    if not sum(counts):
        raise ValueError(too_small(volume.shape, spacing, recipe))
    values, boxes, mostly_background = [], [], 0
    table = air_table(volume, recipe.air_threshold) if recipe.air_share else np.empty(0)
    for scale, count in enumerate(counts):
        if not count:
            continue
        crop = crop_shape(volume.shape, recipe.crop_fractions[SCALES[scale]])
        tries = recipe.air_tries if recipe.air_share else 1
        corners = draw_corners(volume.shape, crop, count, tries, case_generator(recipe.seed, case, scale))
        if recipe.air_share:
            shares = air_shares(table, corners, crop)
            mostly_background += int((shares > recipe.air_share).all(axis=1).sum())
            corners = np.take_along_axis(corners, choose_draw(shares, recipe.air_share)[:, None, None], axis=1)
        corners = corners[:, 0]
        values += [_cube(volume, corner, crop, recipe) for corner in corners]
        boxes.append(np.stack([corners, corners + np.asarray(crop)], axis=1) * np.asarray(spacing))
    return Cubes(np.stack(values), counts, np.concatenate(boxes).astype(np.float32), mostly_background)


def _cube(volume: Tensor, corner: np.ndarray, crop: Sequence[int], recipe: Recipe) -> np.ndarray:
    box = tuple(slice(int(low), int(low) + side) for low, side in zip(corner, crop, strict=True))
    cube = resize(volume[box], recipe.patch_size, antialias=recipe.antialias).clamp(0, 1)
    return quantize(cube)
