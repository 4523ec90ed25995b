# SPDX-License-Identifier: Apache-2.0
"""MONAI dictionary transforms of the target tasks: from MONAI's loaders to a normalized volume, and back to the scan.

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

from ..utils.settings import by_modality, to_bool, to_optional
from .errors import ScanError
from .geometry import check_affine, grid_difference, nearest_on_grid, resample_to_affine
from .labels import Labels
from .normalization import make_scan
from .reading import read_scan

logger = logging.getLogger(__name__)

SCAN_GRID = "scan_grid"  # metadata: shape and affine that the scan came with


class NormalizeScand(MapTransform):
    """Make scans volumes in [0, 1], closest RAS, at one spacing, just as for pre-training (paper IV-B.1).

    Clip and scale, then a third-order spline; nothing is rotated, and nothing cropped away unless it is asked for.
    Labels follow their image onto its grid by nearest neighbor, merged to foreground.

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
            result[key] = self._normalize(image, str(key))
            for label_key in (name for name in self.label_keys if number == 0 and name in result):
                result[label_key] = self._follow(result[label_key], image, result[key])
        return result

    def _normalize(self, image: Any, key: str) -> MetaTensor:
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


class ToOriginalSpaced(MapTransform):
    """Bring what a network made of a normalized volume back to the scan's own grid: shape, affine, axes.

    Third-order spline, clamped to the range that came in. Give it probabilities rather than masks, and threshold after.

    Args:
        keys: tensors (C, H, W, D) on the grid of `reference`.
        reference: key of the volume that `NormalizeScand` made, whose metadata knows the way.
        allow_missing_keys: pass over keys that are not there.

    Raises:
        ValueError: when the reference has not been through `NormalizeScand`, or the shapes differ.
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
            raise ValueError(f"{self.reference}: no {SCAN_GRID!r} in its metadata, expected a volume of NormalizeScand")
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
    """Return the largest connected part (26 neighbors) of a boolean volume."""
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return mask & (parts == sizes.argmax())


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


def intensity_limits(voxels: np.ndarray, window: Sequence[float] | None, scale: str) -> tuple[float, float]:
    """Return the intensities, in the file's unit, that `scans.normalize` makes 0 and 1.

    Args:
        voxels: of the file.
        window: as for `scans.normalize`.
        scale: as for `scans.normalize`.
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


class LoadScand(MapTransform):
    """Read scans and make them volumes in [0, 1], RAS, at one spacing, as for pre-training; nothing is cropped away.

    Args:
        keys: whose values are paths; they become `MetaTensor`s (1, H, W, D), float32.
        intensity_range: by modality, the window (HU for CT), or None for the volume's own range.
        intensity_scale: by modality, "range" or "volume", see `scans.normalize`.
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
