# SPDX-License-Identifier: Apache-2.0
"""MONAI dictionary transforms of the target tasks: from MONAI's loaders to a normalised volume, and back to the scan.

They work on the `MetaTensor`s in memory that `LoadImaged` and `EnsureChannelFirstd` make, so that a server may put its
own loader there. They touch no keys but those they are given; what the way back needs travels in the volume's own
metadata, under `SCAN_GRID`.
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
from monai.utils import ensure_tuple
from scipy import ndimage
from torch import Tensor

from .grids import grid_difference
from .labels import Labels
from .reading import ScanError, check_affine
from .scan_transforms import grid_positions, resample_to_affine
from .scans import make_scan
from .settings import to_bool, to_optional

logger = logging.getLogger(__name__)

SCAN_GRID = "scan_grid"  # metadata: shape and affine that the scan came with


class Normalised(MapTransform):
    """Make scans volumes in [0, 1], closest RAS, at one spacing, just as for pre-training (paper IV-B.1).

    Clip and scale, then a third-order spline; nothing is rotated, and nothing cropped away unless it is asked for.
    Labels follow their image onto its grid by nearest neighbour, merged to foreground.

    Args:
        keys: of the images, `MetaTensor`s (1, H, W, D).
        intensity_range: window to clip to (HU for CT), or None for the volume's own range.
        intensity_scale: "range" scales by the window (CT), "volume" by the clipped volume's own range (MRI).
        spacing: mm, or None to keep each scan's own.
        label_keys: of masks on the grid of the first image; one that is absent is passed over.
        label_values: which values are foreground, see `labels.Labels`.
        foreground_crop: crop to the body first, see `foreground.foreground_box`.
        allow_missing_keys: pass over images that are not there.

    Raises:
        ScanError: when a scan or its label cannot be used; one line, with the file's name.
    """

    def __init__(
        self,
        keys: KeysCollection,
        intensity_range: Sequence[float] | None = None,
        intensity_scale: str = "volume",
        spacing: Sequence[float] | None = (1.0, 1.0, 1.0),
        label_keys: KeysCollection = (),
        label_values: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
        foreground_crop: bool | str = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.foreground = to_bool(foreground_crop, "foreground_crop")
        self.window, self.scale, self.spacing = to_optional(intensity_range), intensity_scale, to_optional(spacing)
        self.label_keys = ensure_tuple(label_keys)
        self.labels = Labels(label_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace images by volumes, and labels by masks on their grid."""
        result = dict(data)
        for number, key in enumerate(self.key_iterator(result)):
            image = result[key]
            result[key] = self._normalise(image, str(key))
            for label_key in (name for name in self.label_keys if number == 0 and name in result):
                result[label_key] = self._follow(result[label_key], image, result[key])
        return result

    def _normalise(self, image: Any, key: str) -> MetaTensor:
        file = file_of(image, key)
        if not isinstance(image, MetaTensor) or image.ndim != 4 or image.shape[0] != 1:
            raise ScanError(f"{file}: {_shape(image)}, expected a MetaTensor (1, H, W, D): one channel, one 3D volume")
        affine = _affine(image)
        check_affine(file, affine)
        voxels = image.as_tensor()[0].cpu().numpy()
        scan = make_scan(file, voxels, affine, self.window, self.scale, self.spacing, self.foreground)
        for note in scan.notes:
            logger.warning(note)
        grid = {"shape": torch.tensor(voxels.shape), "affine": torch.as_tensor(affine)}
        volume = scan.volume[None].to(image.device)
        return MetaTensor(volume, affine=torch.as_tensor(scan.affine), meta={**_meta(image), SCAN_GRID: grid})

    def _follow(self, label: Any, image: MetaTensor, volume: MetaTensor) -> MetaTensor:
        file = file_of(label, "label")
        check_same_grid(file, label, file_of(image, "image"), image)
        mask = self.labels.merge(label.as_tensor(), file)
        mask = nearest_on_grid(mask, _affine(image), _affine(volume), volume.shape[1:])
        return MetaTensor(mask, affine=volume.affine, meta={**_meta(label), SCAN_GRID: volume.meta[SCAN_GRID]})


class ToScanGridd(MapTransform):
    """Bring what a network made of a normalised volume back to the scan's own grid: shape, affine, axes.

    Third-order spline, clamped to the range that came in. Give it probabilities rather than masks, and threshold after.

    Args:
        keys: tensors (C, H, W, D) on the grid of `reference`.
        reference: key of the volume that `Normalised` made, whose metadata knows the way.
        allow_missing_keys: pass over keys that are not there.

    Raises:
        ValueError: when the reference has not been through `Normalised`, or the shapes differ.
    """

    def __init__(self, keys: KeysCollection, reference: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference = reference

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace tensors by `MetaTensor`s with the scan's own metadata."""
        result = dict(data)
        volume = result[self.reference]
        meta = dict(getattr(volume, "meta", {}))
        if SCAN_GRID not in meta:
            raise ValueError(f"{self.reference}: no {SCAN_GRID!r} in its metadata, expected a volume of Normalised")
        grid = meta.pop(SCAN_GRID)
        meta.pop("affine", None)
        own = np.asarray(grid["affine"].cpu(), dtype=np.float64)
        for key in self.key_iterator(result):
            values = torch.as_tensor(result[key]).as_subclass(Tensor).float()
            if values.shape[-3:] != volume.shape[-3:]:
                raise ValueError(f"{key}: got {tuple(values.shape)}, expected the grid {tuple(volume.shape[-3:])}")
            native = resample_to_affine(values, _affine(volume), own, [int(side) for side in grid["shape"]])
            native = native.clamp(*values.aminmax())
            result[key] = MetaTensor(native, affine=torch.as_tensor(own), meta=dict(meta))
        return result


class LargestComponentd(MapTransform):
    """Keep the largest part of a mask that hangs together, over faces, edges or corners.

    MONAI's `KeepLargestConnectedComponentd` needs scikit-image, which nothing else here does.

    Args:
        keys: masks (C, H, W, D) of 0 and 1; each channel for itself.
        allow_missing_keys: pass over keys that are not there.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Empty every other part; of parts of one size the first stays."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = torch.as_tensor(result[key])
            kept = [largest_component(channel) for channel in (mask.as_subclass(Tensor).cpu().numpy() > 0)]
            result[key] = mask * torch.from_numpy(np.stack(kept)).to(mask.device)
        return result


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part (26 neighbours) of a boolean volume."""
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return mask & (parts == sizes.argmax())


def nearest_on_grid(mask: Tensor, affine: np.ndarray, target_affine: np.ndarray, target_shape: Sequence[int]) -> Tensor:
    """Sample a mask at the nearest voxels of another grid with parallel axes; beyond its ends its rim is continued.

    Shape:
        mask (..., H, W, D) → (..., *target_shape).

    Raises:
        ValueError: when the axes are not parallel.
    """
    positions, axes = grid_positions(affine, target_affine, target_shape)
    for axis, where in enumerate(positions):
        # half-way positions fall to one side all along the axis, whatever rounding left in them
        nearest = np.floor(where + 0.5 + 1e-6).clip(0, mask.shape[axis - 3] - 1).astype(np.int64)
        mask = mask.index_select(mask.ndim - 3 + axis, torch.from_numpy(nearest).to(mask.device))
    leading = mask.ndim - 3
    return mask.permute(*range(leading), *(leading + axis for axis in axes)).contiguous()


def check_same_grid(file: str, label: Any, image_file: str, image: MetaTensor) -> None:
    """Check that a label lies on its image's voxels.

    Raises:
        ScanError: when shapes differ, or a corner of the label is elsewhere in space.
    """
    if not isinstance(label, MetaTensor) or label.shape != image.shape:
        raise ScanError(f"{file}: {_shape(label)}, its image {image_file} {_shape(image)}: give a label of its image")
    message = grid_difference(_affine(label), _affine(image), tuple(image.shape[1:]))
    if message:
        raise ScanError(f"{file}: {message} of its image {image_file}: resample the label, or repair its header")


def file_of(image: Any, default: str) -> str:
    """Return the file that a tensor is from, or `default` where its metadata do not say."""
    meta = getattr(image, "meta", None) or {}
    return str(meta.get("filename_or_obj") or default)


def _meta(image: MetaTensor) -> dict[str, Any]:
    return {key: value for key, value in image.meta.items() if key != "affine"}


def _affine(image: MetaTensor) -> np.ndarray:
    affine = np.asarray(image.affine.detach().cpu(), dtype=np.float64)
    return affine.reshape(4, 4)


def _shape(image: Any) -> str:
    return f"shape {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
