# SPDX-License-Identifier: Apache-2.0
"""From the voxels of one scan to a normalized volume: check, orient, normalize, resample (paper IV-B.1).

Orientation is the closest RAS by flips and permutations; an oblique scan is not rotated, its affine keeps the rest.
Intensities are clipped and scaled *before* the spline, so that padding at -3024 and metal do not cause ringing
in adjacent tissue, and clamped to [0, 1] after it, which removes the spline's overshoot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor

from .errors import ScanError
from .foreground import find_foreground
from .geometry import spacing_of, to_ras
from .reading import header_notes, read_scan
from .resampling import resample, resampled_affine, resampled_shape

PERCENTILES = (0.5, 99.5)  # become 0 and 1 with the scale "percentiles"; nnU-Net clips CT at the same
CLIP_WARNING = 0.1  # share of voxels that a clip may change before a line is printed
LEFT_OUT = 0.1  # share of the body that may lie outside of the foreground crop before a line is printed
MINIMUM_CONTRAST = 0.01  # of the window: a CT in HU that spans less than this contains a single material
MAXIMUM_SIDE = 3000.0  # mm: longer than any patient, so the header's spacing is wrong
MINIMUM_SIDE = 1.0  # mm: the longest side of a scan is longer, so its unit is wrong
CT_BELOW = -200.0  # HU: MRI has no such intensities, and every CT contains air
MAXIMUM_VOXELS = 1e9  # after resampling; 4 GB for each copy


@dataclass(frozen=True)
class Scan:
    """A normalized volume.

    Args:
        volume: float32 in [0, 1], axes (R, A, S).
        affine: voxel indices to scanner RAS in mm, (4, 4).
        spacing: of the volume, mm.
        source_shape: voxels of the file, in RAS order.
        source_spacing: of the file, mm, in RAS order.
        notes: one line for each thing worth a warning.
        cropped_shape: voxels of the file after the crop to the body, in RAS order.
        intensities: of the file that became 0 and 1, see `intensity_limits`.

    Shape:
        volume (H, W, D).
    """

    volume: Tensor
    affine: np.ndarray
    spacing: tuple[float, ...]
    source_shape: tuple[int, ...]
    source_spacing: tuple[float, ...]
    notes: list[str] = field(default_factory=list)
    cropped_shape: tuple[int, ...] = ()
    intensities: tuple[float, float] = (0.0, 1.0)


def normalize(
    volume: Tensor, window: Sequence[float] | None, scale: str, limits: tuple[float, float] | None = None
) -> tuple[Tensor, float]:
    """Clip to a window and scale to [0, 1], in place (paper IV-B.1: "Each volume is normalized independently").

    Args:
        volume: intensities, HU for CT; overwritten, because copying a large scan is expensive.
        window: lowest and highest intensity of interest; None is the volume's own range.
        scale: one of `modalities.INTENSITY_SCALES`: "range" divides by the window (CT), "volume" by the clipped
            volume's own minimum and maximum (MRI); "percentiles" makes the clipped volume's `PERCENTILES` 0 and 1 and
            clips what is beyond (MRI with a few bright voxels).
        limits: with "percentiles", what `intensity_limits` found in the file; None finds them in the volume.

    Returns:
        The same volume, now in [0, 1], and the share of voxels that the window changed significantly: with "range"
        those above it only, because air and padding lie below it in every CT; otherwise those on both sides. Voxels
        beyond the percentiles are not counted.
    """
    low, high = map(float, volume.aminmax() if window is None else window)
    changed = int((volume > high).count_nonzero())
    if scale != "range":
        changed += int((volume < low).count_nonzero())
    volume.clamp_(low, high)
    if scale == "volume":
        low, high = map(float, volume.aminmax())
    elif scale == "percentiles":
        low, high = limits or intensity_limits(volume.numpy(), None, scale)
    volume.sub_(low).div_(max(high - low, torch.finfo(torch.float32).tiny))
    return volume.clamp_(0, 1) if scale == "percentiles" else volume, changed / volume.numel()


def intensity_limits(voxels: np.ndarray, window: Sequence[float] | None, scale: str) -> tuple[float, float]:
    """Return the intensities, in the file's unit, that `normalize` makes 0 and 1.

    Args:
        voxels: of the file.
        window, scale: as for `normalize`.
    """
    if window is not None and scale == "range":
        return float(window[0]), float(window[1])
    if scale == "percentiles":
        # Of the nearest voxel: interpolation between two would overflow in int16, and differ after clipping.
        low, high = map(float, np.percentile(voxels.ravel(order="K"), PERCENTILES, method="nearest"))
    else:
        low, high = float(voxels.min()), float(voxels.max())
    if window is not None:
        low, high = (min(max(limit, float(window[0])), float(window[1])) for limit in (low, high))
    return low, high


def guess_modality(voxels: np.ndarray) -> str:
    """Return "ct" for intensities as low as lung or air in HU, -200 or less, and "mri" for others."""
    return "ct" if float(voxels.min()) <= CT_BELOW else "mri"


def check_size(
    file: str | Path, shape: Sequence[int], source: Sequence[float], spacing: Sequence[float]
) -> tuple[int, ...]:
    """Return the shape after resampling from the `source` to the wanted spacing, both in mm.

    Raises:
        ScanError: when the scan is larger than any patient, or a speck, or the resampled volume would be too large to
            process.
    """
    sides = [n * side for n, side in zip(shape, source, strict=True)]
    if not MINIMUM_SIDE <= max(sides) <= MAXIMUM_SIDE:
        found = ", ".join(f"{side:.0f}" if side >= 1 else f"{side:.2g}" for side in sides)
        limits = f"limits {MINIMUM_SIDE:g} and {MAXIMUM_SIDE:g}"
        raise ScanError(f"{file}: [{found}] mm is not a plausible patient size ({limits}): repair the header's spacing")
    made = resampled_shape(shape, source, spacing)
    if math.prod(made) > MAXIMUM_VOXELS:
        raise ScanError(
            f"{file}: {math.prod(made):.1e} voxels at spacing {list(spacing)} mm (limit {MAXIMUM_VOXELS:.0e}): "
            "give a larger spacing, or repair the header's"
        )
    return made


def _as_in_memory(array: np.ndarray) -> Tensor:
    """View an array's voxels in memory order: torch reduces that several times faster.

    Shape:
        array (H, W, D), dense in any order of its axes → (H · W · D,), sharing its memory.
    """
    return torch.from_numpy(array.transpose(np.argsort(array.strides)[::-1]).reshape(-1))


def _check_voxels(file: str | Path, volume: Tensor) -> None:
    low, high = (float(limit) for limit in volume.aminmax())  # NaN where any voxel is
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~torch.isfinite(volume)).sum())
        raise ScanError(f"{file}: {bad} voxels are NaN or infinite: repair or remove the scan")
    if low == high:
        raise ScanError(f"{file}: constant volume (every voxel is {low:g}): remove the scan")


def _normalize_checked(
    file: str | Path, voxels: Tensor, window: Sequence[float] | None, scale: str, limits: tuple[float, float]
) -> list[str]:
    """Normalize in place, reject a constant volume, and return a note if clipping changed many voxels."""
    _check_voxels(file, voxels)
    if scale == "percentiles" and limits[0] == limits[1]:
        clipped = "" if window is None else f" after clipping to {window}"
        raise ScanError(
            f"{file}: the percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g} are both {limits[0]:g}{clipped}: crop "
            "its background, see intensity_range, or give intensity_scale volume"
        )
    changed = normalize(voxels, window, scale, limits)[1]
    low, high = voxels.aminmax()
    if float(high - low) < MINIMUM_CONTRAST:
        raise ScanError(f"{file}: constant after clipping to {window}: wrong unit or modality? see intensity_range")
    if changed <= CLIP_WARNING:
        return []
    return [f"{file}: clipping to {window} changed {changed:.0%} of the voxels: see intensity_range"]


def load_scan(
    file: str | Path,
    window: Sequence[float] | None = None,
    scale: str = "volume",
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    foreground: bool = False,
) -> Scan:
    """Read a scan and convert it to a volume in [0, 1], RAS, at the wanted spacing.

    Args:
        file: see `read_scan`.
        window, scale, spacing, foreground: see `make_scan`.

    Raises:
        ScanError: see `read_scan` and `make_scan`.
    """
    return make_scan(file, *read_scan(file), window, scale, spacing, foreground)


def make_scan(
    file: str | Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    window: Sequence[float] | None = None,
    scale: str = "volume",
    spacing: Sequence[float] | None = (1.0, 1.0, 1.0),
    foreground: bool = False,
) -> Scan:
    """Convert voxels in memory to a volume in [0, 1], RAS, at the wanted spacing.

    Args:
        file: where they are from, for messages.
        voxels: intensities, any real type; not modified.
        affine: voxel → mm, RAS.
        window: intensities of interest (HU for CT), None for the volume's own range.
        scale: "range", "volume" or "percentiles", see `normalize`.
        spacing: of the result, mm; third-order spline. None keeps the scan's own.
        foreground: crop to the body first (MRI), see `find_foreground`.

    Raises:
        ScanError: NaN or infinite voxels, a constant volume, equal percentiles, an impossible size.
    """
    voxels, affine = to_ras(voxels, affine)
    source = spacing_of(affine)
    spacing = source if spacing is None else spacing
    check_size(file, voxels.shape, source, spacing)
    # A copy, as the reader's array may map the file; in the voxels' memory order, as reordering them is expensive.
    array = np.array(voxels, dtype=np.float32, order="K")
    limits = intensity_limits(voxels, window, scale)
    del voxels  # up to twice as large
    notes = [*header_notes(file), *_normalize_checked(file, _as_in_memory(array), window, scale, limits)]
    volume = torch.from_numpy(array)
    if foreground:
        box, left_out = find_foreground(volume, source)
        if left_out > LEFT_OUT:
            notes.append(
                f"{file}: the foreground crop leaves out a part with {left_out:.0%} of the volume of the one that it "
                "keeps: give foreground_crop false if it is anatomy"
            )
        volume = volume[box].contiguous()
        affine = affine @ nibabel.affines.from_matvec(np.eye(3), [part.start for part in box])
    cropped_shape = tuple(volume.shape)
    volume = resample(volume, source, spacing).clamp_(0, 1).contiguous()
    affine = resampled_affine(affine, spacing).numpy()
    return Scan(volume, affine, spacing_of(affine), array.shape, source, notes, cropped_shape, limits)
