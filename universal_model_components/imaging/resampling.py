# SPDX-License-Identifier: Apache-2.0
"""Third-order spline resampling as three small matrix products (the 1 mm grid and the fixed-size cubes of paper III-A).

A spline resampling is linear and separable: along one axis, the B-spline prefilter and the interpolation are together
one (n_out, n_in) matrix, and three of them resample a volume. The matrices are SciPy's own operators applied to the
identity, so a boundary mode means exactly what it means in `scipy.ndimage`; the products run on the volume's device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

MODES = ("nearest", "mirror", "reflect")  # SciPy's names; those that keep a constant volume constant
SPACING_TOLERANCE = 1e-3  # mm; axes this close to the requested spacing are left unchanged, like MONAI's Spacing
ROWS = 64  # output samples computed together
NEGLIGIBLE = 1e-10  # a cubic spline's weights fall by 3.7 with each voxel: beyond some 17 voxels they are below this


def axis_matrix(n_in: int, positions: Sequence[float], mode: str = "nearest", blur: float = 0.0) -> Tensor:
    """Build the matrix that samples the cubic spline through `n_in` values at any positions along one axis.

    Args:
        n_in: number of input samples, at positions 0 … n_in - 1.
        positions: where to sample, in input voxels; `mode` defines the values beyond the ends.
        mode: boundary, one of "nearest", "mirror", "reflect", as in `scipy.ndimage`.
        blur: standard deviation, in input voxels, of a Gaussian that low-passes the samples first; 0 is none.

    Shape:
        positions (n_out,) → (n_out, n_in), float64 on the CPU; every row sums to one (but SciPy's "reflect" is short
        of that by up to 6e-4 on axes of two or three samples, and by 1e-5 on four).

    Raises:
        ValueError: when samples or positions are missing or not finite, `mode` is unknown or `blur` is negative.
    """
    where = tuple(map(float, positions))
    if n_in < 1 or not where:
        raise ValueError(f"axis_matrix: got n_in = {n_in} and {len(where)} positions, expected at least one of each")
    if not all(map(math.isfinite, where)):
        raise ValueError("positions: found a NaN or infinite position, expected finite input voxels")
    if not 0 <= blur < math.inf:
        raise ValueError(f"blur: got {blur}, expected a finite standard deviation of at least 0 input voxels")
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, expected one of {', '.join(MODES)}")
    return torch.tensor(_axis_matrix(n_in, where, mode, blur))  # a copy: the cached array must not change


@lru_cache(maxsize=64)
def _axis_matrix(n_in: int, positions: tuple[float, ...], mode: str, blur: float) -> np.ndarray:
    identity = np.eye(n_in)
    if blur == 0 and positions == tuple(range(n_in)):
        return identity
    impulses = ndimage.gaussian_filter1d(identity, blur, axis=0, mode=mode) if blur else identity
    columns = [ndimage.map_coordinates(impulse, [positions], order=3, mode=mode) for impulse in impulses.T]
    return np.stack(columns, axis=1)


def apply_matrices(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply the last three axes of a volume by one matrix each, the axis that shrinks most first.

    Axes whose matrix is the identity are not touched; a float volume with three of them is returned, not copied.
    Autocast is switched off here, but float32 products follow torch's setting: with TF32 or bf16 allowed for them
    (`torch.set_float32_matmul_precision`), errors grow from 1e-6 to about 1e-3.

    Args:
        volume: any number of leading axes; computed in float32, or in float64 if it is float64.
        matrices: one for each spatial axis, for example of `axis_matrix`.

    Shape:
        volume (..., H, W, D); matrices (H', H), (W', W), (D', D) → (..., H', W', D').

    Raises:
        ValueError: when the volume has fewer than three axes, or a matrix does not fit its axis.
    """
    sizes = _spatial_shape(volume)
    if tuple(tuple(matrix.shape[1:]) for matrix in matrices) != tuple((n,) for n in sizes):
        found = [tuple(matrix.shape) for matrix in matrices]
        raise ValueError(f"matrices: got shapes {found} for a volume of {sizes}, expected (n_out, n_in) for each axis")
    volume = volume.as_subclass(Tensor)  # a MetaTensor would keep its old affine
    if volume.dtype not in (torch.float32, torch.float64):
        volume = volume.float()
    with torch.autocast(volume.device.type, enabled=False):
        for axis in sorted(range(3), key=lambda axis: len(matrices[axis]) / sizes[axis]):
            if not torch.equal(matrices[axis], torch.eye(sizes[axis]).to(matrices[axis])):
                volume = _multiply(volume, matrices[axis], axis - 3)
    return volume


def _multiply(volume: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply one axis by a matrix, reading for each block of output rows only the columns with non-zero weights."""
    shape = list(volume.shape)
    shape[axis] = len(matrix)
    result = volume.new_empty(shape)
    source, target = volume.movedim(axis, -2), result.movedim(axis, -2)  # views: the volume is not copied
    for start in range(0, len(matrix), ROWS):
        block = matrix[start : start + ROWS]
        used = (block.abs() > NEGLIGIBLE).any(dim=0).nonzero().flatten().tolist()
        columns = slice(used[0], used[-1] + 1) if used else slice(0)
        target[..., start : start + ROWS, :] = block[:, columns].to(volume) @ source[..., columns, :]
    return result


def resample_to_grid(
    volume: Tensor,
    positions: Sequence[Sequence[float]],
    mode: str = "nearest",
    blurs: Sequence[float] = (0.0, 0.0, 0.0),
) -> Tensor:
    """Sample the third-order spline through a volume on any rectilinear grid.

    An axis that is sampled at its own voxels, 0 … n - 1, is left unchanged bit for bit.

    Args:
        volume: any number of leading axes; computed in float32, or in float64 if it is float64.
        positions: for each spatial axis, the sample positions in voxels of `volume`.
        mode: boundary, see `axis_matrix`.
        blurs: for each spatial axis, the low-pass of `axis_matrix`.

    Shape:
        volume (..., H, W, D); positions of lengths H', W', D' → (..., H', W', D').

    Raises:
        ValueError: as `axis_matrix`; when the volume has fewer than three axes, or not three lists are given.
    """
    sizes = _spatial_shape(volume)
    if len(positions) != 3:
        raise ValueError(f"positions: got {len(positions)} lists, expected one for each of three axes")
    axes = zip(sizes, positions, blurs, strict=True)
    return apply_matrices(volume, [axis_matrix(n, where, mode, blur) for n, where, blur in axes])


def resample(
    volume: Tensor,
    spacing_in: Sequence[float],
    spacing_out: Sequence[float],
    shape: Sequence[int] | None = None,
    mode: str = "nearest",
) -> Tensor:
    """Resample a volume to another spacing as MONAI's `Spacing(mode=3)` does: first voxel center on first voxel center.

    As there, nothing is low-passed where the spacing grows; and a spline may overshoot the range of its input: clamp
    if the range matters. `resample(result, spacing_out, spacing_in, shape)`, with the shape that the volume had, brings
    a result back onto the volume's original grid.

    Args:
        volume: any number of leading axes; computed in float32, or in float64 if it is float64.
        spacing_in: voxel sides of `volume` in mm.
        spacing_out: wanted voxel sides in mm; an axis already within 1e-3 mm keeps its own and is not touched.
        shape: output shape; that of `resampled_shape` by default.
        mode: boundary, see `axis_matrix`; "nearest" is MONAI's default too.

    Shape:
        volume (..., H, W, D) → (..., H', W', D').

    Raises:
        ValueError: when a spacing or `shape` is not three positive numbers, `mode` is unknown, or the volume not 3D.
    """
    sizes = _spatial_shape(volume)
    sizes_out = resampled_shape(sizes, spacing_in, spacing_out) if shape is None else _positive_shape(shape)
    steps = _steps(spacing_in, spacing_out)
    positions = [[step * i for i in range(n)] for step, n in zip(steps, sizes_out, strict=True)]
    return resample_to_grid(volume, positions, mode)


def resampled_shape(shape: Sequence[int], spacing_in: Sequence[float], spacing_out: Sequence[float]) -> tuple[int, ...]:
    """Give the shape that `resample` makes: (n - 1) · spacing_in / spacing_out + 1 voxels, halves to the even number.

    Args:
        shape: the volume's three sides in voxels.
        spacing_in: its voxel sides in mm.
        spacing_out: wanted voxel sides in mm.

    Raises:
        ValueError: when `shape` is not three positive integers or a spacing not three positive numbers.
    """
    steps = _steps(spacing_in, spacing_out)
    return tuple(round((n - 1) / step + 1) for n, step in zip(_positive_shape(shape), steps, strict=True))


def resampled_affine(affine: Tensor | np.ndarray, spacing_out: Sequence[float]) -> Tensor:
    """Give the affine of what `resample` makes: first voxel center and directions kept, columns of the new lengths.

    Args:
        affine: voxel → mm of the volume; its column lengths are the `spacing_in` of `resample`.
        spacing_out: wanted voxel sides in mm.

    Shape:
        affine (4, 4) → (4, 4), float64 on the CPU.

    Raises:
        ValueError: when the affine is not 4 × 4, a column has no length, or `spacing_out` is not positive.
    """
    result = torch.as_tensor(affine).detach().as_subclass(Tensor).to("cpu", torch.float64, copy=True)
    if result.shape != (4, 4):
        raise ValueError(f"affine: got shape {tuple(result.shape)}, expected (4, 4)")
    steps = _steps(result[:3, :3].norm(dim=0).tolist(), spacing_out)
    result[:3, :3] *= torch.tensor(steps, dtype=torch.float64)
    return result


def resize(cubes: Tensor, shape: Sequence[int], antialias: bool = True, mode: str = "nearest") -> Tensor:
    """Resize volumes to a fixed shape, the box that the voxels fill onto the box that the new voxels fill.

    Cell-centered: a voxel is a cell and the outer faces of the volume stay where they are, so that output voxel i is
    sampled at (i + ½) · n_in / n_out - ½. A spline may overshoot the range of its input: clamp if the range matters.

    Args:
        cubes: any number of leading axes; computed in float32, or in float64 if they are float64.
        shape: the new spatial shape.
        antialias: low-pass each axis that shrinks by a factor f with a Gaussian of (f - 1) / 2 input voxels, so that
            detail finer than the new voxels fades rather than folds into false structure.
        mode: boundary, see `axis_matrix`.

    Shape:
        cubes (..., H, W, D); shape (H', W', D') → (..., H', W', D').

    Raises:
        ValueError: when `shape` is not three positive integers, `mode` is unknown, or the cubes are not 3D.
    """
    sizes_out = _positive_shape(shape)
    steps = [n_in / n_out for n_in, n_out in zip(_spatial_shape(cubes), sizes_out, strict=True)]
    positions = [[(i + 0.5) * step - 0.5 for i in range(n)] for step, n in zip(steps, sizes_out, strict=True)]
    return resample_to_grid(cubes, positions, mode, [max(0.0, (step - 1) / 2) * antialias for step in steps])


def _steps(spacing_in: Sequence[float], spacing_out: Sequence[float]) -> list[float]:
    """Give the distances of the output voxels in input voxels; exactly 1 where the spacings are as good as equal."""
    for name, spacing in (("spacing_in", spacing_in), ("spacing_out", spacing_out)):
        if len(spacing) != 3 or not all(0 < side < math.inf for side in spacing):
            raise ValueError(f"{name}: got {tuple(map(float, spacing))}, expected three positive, finite numbers (mm)")
    pairs = zip(map(float, spacing_in), map(float, spacing_out), strict=True)
    return [1.0 if abs(own - out) <= SPACING_TOLERANCE else out / own for own, out in pairs]


def _positive_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) != 3 or not all(n >= 1 and n == int(n) for n in shape):
        raise ValueError(f"shape: got {tuple(shape)}, expected three positive integers")
    return tuple(map(int, shape))


def _spatial_shape(volume: Tensor) -> tuple[int, ...]:
    if volume.ndim < 3 or 0 in volume.shape[-3:]:
        raise ValueError(f"volume: got shape {tuple(volume.shape)}, expected (..., H, W, D) with no empty axis")
    return tuple(volume.shape[-3:])
