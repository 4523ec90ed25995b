# SPDX-License-Identifier: Apache-2.0
"""MONAI dictionary transforms from a scan's file to a normalised volume, and from that grid back to the file's own.

They touch no keys but those they are given. What the way back needs (the file's grid and intensity window) travels in
the volume's own metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from .reading import read_scan
from .resampling import resample_to_grid
from .scans import make_scan
from .settings import by_modality

logger = logging.getLogger(__name__)

PARALLEL_TOLERANCE = 1e-3  # voxels of drift for each voxel along another axis


def intensity_limits(voxels: np.ndarray, window: Sequence[float] | None, scale: str) -> tuple[float, float]:
    """Return the intensities, in the file's unit, that `scans.normalise` makes 0 and 1.

    Args:
        voxels: of the file.
        window: as for `scans.normalise`.
        scale: as for `scans.normalise`.
    """
    if window is not None and scale == "range":
        return float(window[0]), float(window[1])
    low, high = float(voxels.min()), float(voxels.max())
    if window is None:
        return low, high
    return max(low, float(window[0])), min(high, float(window[1]))


def guess_modality(voxels: np.ndarray) -> str:
    """Return "ct" for intensities that reach down to lung or air in HU, −200 or less, and "mri" for others."""
    return "ct" if float(voxels.min()) <= -200 else "mri"


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

    Beyond the volume's ends its rim is continued.

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


class LoadScand(MapTransform):
    """Read scans and make them volumes in [0, 1], RAS, at one spacing, as for pre-training; nothing is cropped away.

    Args:
        keys: whose values are paths; they become `MetaTensor`s (1, H, W, D), float32.
        intensity_range: by modality, the window (HU for CT), or None for the volume's own range.
        intensity_scale: by modality, "range" or "volume", see `scans.normalise`.
        spacing: mm.
        modality_key: where the scan's modality is found; a sample without it, such as a server's, is judged by its
            intensities (`guess_modality`), and the log says so.
        allow_missing_keys: pass over keys that are not there.

    Raises:
        ScanError: when a scan cannot be used; one line, with the file's name.
    """

    def __init__(
        self,
        keys: KeysCollection,
        intensity_range: Mapping[str, Sequence[float] | None],
        intensity_scale: Mapping[str, str],
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        modality_key: str = "modality",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.intensity_range, self.intensity_scale = intensity_range, intensity_scale
        self.spacing, self.modality_key = tuple(spacing), modality_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace paths by volumes."""
        result = dict(data)
        for key in self.key_iterator(result):
            file = str(result[key])
            voxels, affine = read_scan(file)
            name = result.get(self.modality_key)
            if name is None:
                name = guess_modality(voxels)
                logger.warning("%s: no modality given, taken for %s by its intensities", file, name)
            window = by_modality(self.intensity_range, [name], "intensity_range")[name]
            scale = by_modality(self.intensity_scale, [name], "intensity_scale")[name]
            scan = make_scan(file, voxels, affine, window, scale, self.spacing)
            for note in scan.notes:
                logger.warning(note)
            meta = {
                "filename_or_obj": file,
                "original_affine": affine,
                "spatial_shape": np.asarray(voxels.shape),
                "intensity_limits": np.asarray(intensity_limits(voxels, window, scale)),
            }
            result[key] = MetaTensor(scan.volume[None], affine=torch.as_tensor(scan.affine), meta=meta)
        return result


class BackToScand(MapTransform):
    """Bring volumes in [0, 1] on the grid of `LoadScand` back to their file's voxels and intensities.

    What the window clipped away does not come back. Intensities are float32.

    Args:
        keys: whose values are `MetaTensor`s (C, H, W, D) with the metadata of `LoadScand`.
        allow_missing_keys: pass over keys that are not there.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace volumes by volumes of the file's shape."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            meta, affine = dict(volume.meta), np.asarray(volume.affine.cpu(), dtype=np.float64)
            own = np.asarray(meta["original_affine"], dtype=np.float64)
            shape = [int(side) for side in meta["spatial_shape"]]
            low, high = (float(limit) for limit in meta["intensity_limits"])
            native = resample_to_affine(volume.as_tensor().float(), affine, own, shape).clamp_(0, 1)
            del meta["affine"]
            result[key] = MetaTensor(native * (high - low) + low, affine=torch.as_tensor(own), meta=meta)
        return result
