# SPDX-License-Identifier: Apache-2.0
"""Synthetic scans: anatomy painted with a modality's intensities, then noise, padding, bias and a scanner's axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.ndimage import gaussian_filter, label

from .brain import paint_head
from .chest import paint_chest
from .heart import HEART
from .shapes import Canvas
from .tissues import CT, HEAD_MRI, HEART_MRI

SHAPE = (128, 128, 96)  # voxels, default
HEART_VIEW = (230, 210, 170)  # mm


@dataclass
class Phantom:
    """A synthetic scan.

    Args:
        image: int16 voxels, HU for CT and an arbitrary scale for MRI.
        affine: 4×4, voxel indices to RAS mm, as NIfTI keeps it.
        modality: `ct` or `mri`.
        labels: uint8 masks on the image's voxels, by name: `nodule`, `lesion`, `left_atrium`.
        points: (N, 3) RAS mm, center of each connected component of a mask, by the mask's name.
    """

    image: np.ndarray
    affine: np.ndarray
    modality: str
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    points: dict[str, np.ndarray] = field(default_factory=dict)

    def nifti(self, mask: str | None = None) -> nib.Nifti1Image:
        """The image, or the mask of that name, with the affine: ready to be saved."""
        nifti = nib.Nifti1Image(self.image if mask is None else self.labels[mask], self.affine)
        nifti.header.set_xyzt_units("mm")
        return nifti


def _place(
    image: np.ndarray,
    labels: Mapping[str, np.ndarray],
    spacing: Sequence[float],
    modality: str,
    axcodes: str,
    tilt: float,
) -> Phantom:
    """Give a scan drawn along R, A, S the axes of a scanner; `tilt` in degrees makes them oblique."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * (np.array(image.shape) - 1) * spacing
    turn = np.deg2rad(tilt)
    oblique = np.eye(4)
    oblique[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = oblique @ affine
    to_codes = ornt_transform(io_orientation(np.diag([*spacing, 1.0])), axcodes2ornt(tuple(axcodes)))
    shape = image.shape
    affine = affine @ inv_ornt_aff(to_codes, shape)
    turned = {name: np.ascontiguousarray(apply_orientation(mask, to_codes)) for name, mask in labels.items()}
    image = np.ascontiguousarray(apply_orientation(image, to_codes))
    points = {name: _middles(mask, affine) for name, mask in turned.items()}
    return Phantom(image, affine, modality, turned, points)


def _middles(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Center of each connected component of a mask in mm."""
    parts, count = label(mask)
    voxels = np.argwhere(mask)
    of = parts[mask > 0]
    sizes = np.maximum(np.bincount(of, minlength=count + 1)[1:], 1)
    middle = np.stack([np.bincount(of, voxels[:, a], count + 1)[1:] / sizes for a in range(3)], axis=1)
    return middle @ affine[:3, :3].T + affine[:3, 3]


def _field_of_view(shape: Sequence[int], spacing: Sequence[float] | None, view: Sequence[float]) -> tuple[float, ...]:
    """The spacing asked for, or the one at which the scan shows `view` mm, the same along x and y."""
    if len(shape) != 3 or min(shape) < 2:
        raise ValueError(f"shape is {tuple(shape)}, expected three sides of at least 2 voxels")
    if spacing is not None:
        return tuple(spacing)
    in_plane = max(view[0] / shape[0], view[1] / shape[1])
    return in_plane, in_plane, view[2] / shape[2]


def _scan_ct(canvas: Canvas, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Texture, table, blur, grainy noise; sometimes a round field of view with a padding value around it."""
    x, y = canvas.axes[0][:, None, None], canvas.axes[1][None, :, None]
    bed = np.abs(y + 142 - 0.0011 * x**2) - 2.5
    canvas.image += (-250 - canvas.image) * canvas.cover(bed) * (np.abs(x) < 195) * (canvas.image < -900)
    solid = np.clip((canvas.image + 300) / 300, 0, 1)
    image = gaussian_filter(canvas.image + 9 * texture * solid, 0.4)
    deviation, padding = rng.uniform(8, 26), rng.choice((0, 0, -1024, -3024))
    noise = np.random.default_rng(rng.integers(2**32)).standard_normal(image.shape, dtype=np.float32)
    image += 1.6 * deviation * gaussian_filter(noise, (0.6, 0.6, 0.3))
    image = np.clip(image, -1024, 3071)
    if padding:
        half = min(float(np.abs(axis - axis.mean()).max()) for axis in canvas.axes[:2])
        outside = np.hypot(x - canvas.axes[0].mean(), y - canvas.axes[1].mean()) > half
        image[np.broadcast_to(outside, image.shape)] = padding
    return np.rint(image).astype(np.int16)


def _scan_mri(canvas: Canvas, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Texture, coil bias, Rician noise, and an arbitrary scale."""
    bias = np.exp(0.16 * canvas.field(rng, 220, reach=440))
    image = gaussian_filter(canvas.image * (1 + 0.035 * texture), 0.45) * bias
    deviation, scale = rng.uniform(0.008, 0.03), np.exp(rng.uniform(np.log(180), np.log(3200)))
    noise = np.random.default_rng(rng.integers(2**32)).standard_normal((2, *image.shape), dtype=np.float32) * deviation
    image = scale * np.hypot(image + noise[0], noise[1])
    return np.rint(np.clip(image, 0, 32767)).astype(np.int16)


def draw_thorax_ct(
    seed: int,
    shape: Sequence[int] = SHAPE,
    spacing: Sequence[float] | None = None,
    axcodes: str = "RAS",
    tilt: float = 0.0,
    nodules: int | None = None,
) -> Phantom:
    """Draw a CT of the chest in HU.

    Args:
        seed: of the anatomy and of the noise.
        shape: voxels along right, front, up (before `axcodes` reorders them).
        spacing: mm along the same; by default such that the whole chest fits.
        axcodes: the scanner's axes, as nibabel names them.
        tilt: degrees by which the axes are oblique.
        nodules: how many lung nodules; drawn from 1 to 4 when absent.
    """
    rng = np.random.default_rng([seed, 1])
    spacing = _field_of_view(shape, spacing, (400, 330, 290))
    canvas = Canvas(shape, spacing, (0, -14, 10), CT, rng, size=rng.uniform(0.92, 1.06))
    paint_chest(canvas, rng, int(rng.integers(1, 5)) if nodules is None else nodules)
    image = _scan_ct(canvas, rng, canvas.field(rng, 7, reach=170))
    return _place(image, canvas.labels, spacing, "ct", axcodes, tilt)


def _heart_canvas(
    shape: Sequence[int], spacing: Sequence[float], tissues: Mapping[str, float], rng: np.random.Generator
) -> Canvas:
    """A chest with a field of view around the heart."""
    center = [float(c) for c in HEART + (10, -18, 10)]
    canvas = Canvas(shape, spacing, center, tissues, rng, size=rng.uniform(0.92, 1.06))
    paint_chest(canvas, rng, nodules=0)
    return canvas


def draw_heart_ct(
    seed: int,
    shape: Sequence[int] = SHAPE,
    spacing: Sequence[float] | None = None,
    axcodes: str = "RAS",
    tilt: float = 0.0,
) -> Phantom:
    """Draw a CT of the heart with contrast medium, in HU, with the mask `left_atrium`; arguments as for the chest."""
    rng = np.random.default_rng([seed, 2])
    left, right = rng.uniform(300, 460), rng.uniform(90, 320)
    tissues = CT | {
        "blood_left": left,
        "blood_aorta": left * 0.97,
        "blood_right": right,
        "vessel": right,
        "myocardium": 105,
    }
    spacing = _field_of_view(shape, spacing, HEART_VIEW)
    canvas = _heart_canvas(shape, spacing, tissues, rng)
    image = _scan_ct(canvas, rng, canvas.field(rng, 7, reach=170))
    return _place(image, canvas.labels, spacing, "ct", axcodes, tilt)


def draw_heart_mri(
    seed: int,
    shape: Sequence[int] = SHAPE,
    spacing: Sequence[float] | None = None,
    axcodes: str = "RAS",
    tilt: float = 0.0,
) -> Phantom:
    """Draw an MRI of the heart (bright blood) with the mask `left_atrium`; arguments as for the chest."""
    rng = np.random.default_rng([seed, 3])
    spacing = _field_of_view(shape, spacing, HEART_VIEW)
    canvas = _heart_canvas(shape, spacing, HEART_MRI, rng)
    image = _scan_mri(canvas, rng, canvas.field(rng, 7, reach=170))
    return _place(image, canvas.labels, spacing, "mri", axcodes, tilt)


def draw_brain_mri(
    seed: int,
    shape: Sequence[int] = SHAPE,
    spacing: Sequence[float] | None = None,
    axcodes: str = "RAS",
    tilt: float = 0.0,
    contrast: str | None = None,
    tumor: bool | None = None,
) -> Phantom:
    """Draw an MRI of the head with the mask `lesion`.

    Args:
        seed: of the anatomy and of the noise.
        shape: voxels along right, front, up (before `axcodes` reorders them).
        spacing: mm along the same; by default such that the whole head fits.
        axcodes: the scanner's axes, as nibabel names them.
        tilt: degrees by which the axes are oblique.
        contrast: `t1`, `t2` or `flair`; drawn when absent.
        tumor: whether there is one; drawn when absent.

    Raises:
        ValueError: for a contrast that is not one of these.
    """
    rng = np.random.default_rng([seed, 4])
    drawn, has_tumor, spots = str(rng.choice(sorted(HEAD_MRI))), bool(rng.random() < 0.5), int(rng.integers(2, 12))
    contrast = drawn if contrast is None else contrast
    if contrast not in HEAD_MRI:
        raise ValueError(f"contrast is {contrast!r}, expected one of {sorted(HEAD_MRI)}")
    spacing = _field_of_view(shape, spacing, (192, 224, 190))
    canvas = Canvas(shape, spacing, (0, 2, -14), HEAD_MRI[contrast], rng, size=rng.uniform(0.92, 1.06), warp=2.0)
    paint_head(canvas, rng, has_tumor if tumor is None else tumor, spots)
    image = _scan_mri(canvas, rng, canvas.field(rng, 5, reach=130))
    return _place(image, canvas.labels, spacing, "mri", axcodes, tilt)
