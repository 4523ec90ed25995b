# SPDX-License-Identifier: Apache-2.0
"""MONAI dictionary transforms of every bundle: read a scan, normalize it, map predictions to native image space.

`NormalizeScand` takes the `MetaTensor`s in memory that `ReadScand`, or MONAI's `LoadImaged` and `EnsureChannelFirstd`,
make, so a server may use its own loader instead. The transforms touch only the given keys; what the inverse mapping
needs is kept in the volume's metadata, under `ORIGINAL_SPACE`.
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
from torch import Tensor

from ..utils.settings import to_bool, to_optional
from .errors import ScanError
from .geometry import Grid, check_affine, check_same_grid, nearest_on_grid, resample_to_affine
from .hdf5 import dequantize, quantize
from .labels import Labels
from .modalities import of_modalities
from .normalization import guess_modality, make_scan
from .reading import read_scan

logger = logging.getLogger(__name__)

ORIGINAL_SPACE = "original_space"  # metadata: shape and affine of the scan, and its intensities that became 0 and 1


class ReadScand(MapTransform):
    """Read scans with `read_scan`: explicit readers, whole files, and a one-line error for a file that cannot be used.

    Args:
        keys: whose values are paths; they become `MetaTensor`s (1, H, W, D) with the metadata of MONAI's loaders.
        allow_missing_keys: skip missing keys.

    Raises:
        ScanError: as `read_scan`.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace paths by scans."""
        result = dict(data)
        for key in self.key_iterator(result):
            file = str(result[key])
            voxels, affine = read_scan(file)
            wide = np.float64 if voxels.dtype.itemsize > 4 else np.float32
            volume = torch.from_numpy(voxels.astype(wide, order="K", copy=False))[None]
            shape = np.asarray(voxels.shape)
            meta = {"filename_or_obj": file, "original_affine": affine, "spatial_shape": shape}
            result[key] = MetaTensor(volume, affine=torch.as_tensor(affine), meta=meta)
        return result


class NormalizeScand(MapTransform):
    """Convert scans to volumes in [0, 1], closest RAS, at one spacing (paper IV-B.1).

    Clip and scale, then a third-order spline; nothing is rotated, and nothing is cropped unless requested.
    Labels follow their image onto its grid by nearest neighbor, merged into foreground.

    Args:
        keys: of the images, `MetaTensor`s (1, H, W, D).
        intensity_range: window to clip to (HU for CT), or None for the volume's own range; or a mapping of these by
            modality.
        intensity_scale: "range" scales by the window (CT), "volume" by the clipped volume's own range, "percentiles" by
            its percentiles 0.5 and 99.5 (MRI); or a mapping by modality.
        spacing: mm, or None to keep each scan's native spacing.
        label_keys: of masks on the grid of the first image; a missing one is skipped.
        label_values: which values are foreground, see `labels.Labels`.
        foreground_crop: crop to the body first, see `foreground.find_foreground`.
        quantize: round to the levels that files of normalized scans hold, see `hdf5.quantize`.
        modality_key: where mappings find the scan's modality; a sample without it, such as a server's, is classified by
            its intensities (`guess_modality`), which is logged.
        allow_missing_keys: skip missing images.

    Raises:
        ScanError: when a scan or its label cannot be used; one line, with the file's name.
    """

    def __init__(
        self,
        keys: KeysCollection,
        intensity_range: Mapping[str, Sequence[float] | None] | Sequence[float] | None = None,
        intensity_scale: Mapping[str, str] | str = "volume",
        spacing: Sequence[float] | None = (1.0, 1.0, 1.0),
        label_keys: KeysCollection = (),
        label_values: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
        foreground_crop: bool | str = False,
        quantize: bool = False,
        modality_key: str = "modality",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.foreground = to_bool(foreground_crop, "foreground_crop")
        self.window, self.scale, self.spacing = to_optional(intensity_range), intensity_scale, to_optional(spacing)
        self.label_keys, self.labels = ensure_tuple(label_keys), Labels(label_values)
        self.quantize, self.modality_key = quantize, modality_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace images by volumes, and labels by masks on their grid."""
        result = dict(data)
        for number, key in enumerate(self.key_iterator(result)):
            image = result[key]
            grid = grid_of(image, str(key))
            result[key] = self._normalize(image, grid, result.get(self.modality_key))
            for label_key in (name for name in self.label_keys if number == 0 and name in result):
                result[label_key] = self._follow(result[label_key], grid, result[key])
        return result

    def _normalize(self, image: MetaTensor, grid: Grid, modality: str | None) -> MetaTensor:
        check_affine(grid.file, grid.affine)
        voxels = image.as_tensor()[0].cpu().numpy()
        window, scale = self._intensities(voxels, str(grid.file), modality)
        scan = make_scan(grid.file, voxels, grid.affine, window, scale, self.spacing, self.foreground)
        for note in scan.notes:
            logger.warning(note)
        volume = torch.from_numpy(dequantize(quantize(scan.volume))) if self.quantize else scan.volume
        original = {"shape": torch.tensor(grid.shape), "affine": torch.as_tensor(grid.affine)}
        original["intensities"] = torch.tensor(scan.intensities, dtype=torch.float64)
        meta = {**_meta(image), ORIGINAL_SPACE: original}
        return MetaTensor(volume[None].to(image.device), affine=torch.as_tensor(scan.affine), meta=meta)

    def _intensities(self, voxels: np.ndarray, file: str, modality: str | None) -> tuple[Any, str]:
        """Return the window and the scale of one scan."""
        if not isinstance(self.window, Mapping) and not isinstance(self.scale, Mapping):
            return self.window, self.scale
        if modality is None:
            modality = guess_modality(voxels)
            logger.warning("%s: no modality given, classified as %s by its intensities", file, modality)
        window = of_modalities(self.window, [modality], "intensity_range")[modality]
        return window, of_modalities(self.scale, [modality], "intensity_scale")[modality]

    def _follow(self, label: Any, image: Grid, volume: MetaTensor) -> MetaTensor:
        grid = grid_of(label, "label")
        check_same_grid(grid, image)
        mask = self.labels.merge(label.as_tensor(), str(grid.file))
        mask = nearest_on_grid(mask, image.affine, _affine(volume), volume.shape[1:])
        meta = {**_meta(label), ORIGINAL_SPACE: volume.meta[ORIGINAL_SPACE]}
        return MetaTensor(mask, affine=volume.affine, meta=meta)


class ToOriginalSpaced(MapTransform):
    """Map a network's output for a normalized volume to the scan's native image space: shape, affine, axes.

    Third-order spline. Give it probabilities rather than masks, and threshold afterwards.

    Args:
        keys: tensors (C, H, W, D) on the grid of `reference`.
        reference: key of the volume that `NormalizeScand` made, whose metadata describe the native space.
        restore_intensity: the tensors are normalized intensities: clamp them to [0, 1], and bring them back to the
            file's unit, too; what was clipped is lost. Otherwise the spline is clamped to the range of the input.
        allow_missing_keys: skip missing keys.

    Raises:
        ValueError: when the reference has not been through `NormalizeScand`, or the shapes differ.
    """

    def __init__(
        self,
        keys: KeysCollection,
        reference: str = "image",
        restore_intensity: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference, self.restore_intensity = reference, restore_intensity

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace tensors by `MetaTensor`s with the scan's original metadata."""
        result = dict(data)
        volume = result[self.reference]
        if ORIGINAL_SPACE not in getattr(volume, "meta", {}):
            raise ValueError(
                f"{self.reference}: no {ORIGINAL_SPACE!r} in its metadata, expected a volume of NormalizeScand"
            )
        meta = _meta(volume)
        original = meta.pop(ORIGINAL_SPACE)
        shape = [int(side) for side in original["shape"]]
        affine = np.asarray(original["affine"].cpu(), dtype=np.float64)
        for key in self.key_iterator(result):
            values = torch.as_tensor(result[key]).as_subclass(Tensor).float()
            if values.shape[-3:] != volume.shape[-3:]:
                raise ValueError(f"{key}: got {tuple(values.shape)}, expected the grid {tuple(volume.shape[-3:])}")
            native = resample_to_affine(values, _affine(volume), affine, shape)
            if self.restore_intensity:
                low, high = original["intensities"].tolist()
                native = native.clamp(0, 1) * (high - low) + low
            else:
                native = native.clamp(*values.aminmax())
            result[key] = MetaTensor(native, affine=torch.as_tensor(affine), meta=dict(meta))
        return result


def grid_of(image: Any, name: str) -> Grid:
    """Return the voxel grid of a scan in memory.

    Args:
        image: a `MetaTensor` (1, H, W, D).
        name: for messages, where its metadata do not say which file it is from.

    Raises:
        ScanError: when it is not one.
    """
    file = file_of(image, name)
    if not isinstance(image, MetaTensor) or image.ndim != 4 or image.shape[0] != 1:
        found = f"shape {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
        raise ScanError(f"{file}: {found}, expected a MetaTensor (1, H, W, D): one channel, one 3D volume")
    return Grid(file, tuple(image.shape[1:]), _affine(image))


def file_of(image: Any, default: str) -> str:
    """Return the file that a tensor is from, or `default` where its metadata do not say."""
    meta = getattr(image, "meta", None) or {}
    return str(meta.get("filename_or_obj") or default)


def _meta(image: MetaTensor) -> dict[str, Any]:
    return {key: value for key, value in image.meta.items() if key != "affine"}


def _affine(image: MetaTensor) -> np.ndarray:
    return np.asarray(image.affine.detach().cpu(), dtype=np.float64).reshape(4, 4)
