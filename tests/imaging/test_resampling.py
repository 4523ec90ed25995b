# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing
from scipy import ndimage

from universal_model_components.imaging.resampling import (
    MODES,
    apply_matrices,
    axis_matrix,
    resample,
    resample_to_grid,
    resampled_affine,
    resampled_shape,
    resize,
)

# [spacing_in, spacing_out, in_shape, out_shape]
SPACINGS = [
    [(0.7, 0.7, 2.5), (1.0, 1.0, 1.0), (25, 21, 9), (18, 15, 21)],
    [(1.0, 1.0, 5.0), (1.0, 1.0, 1.0), (12, 10, 5), (12, 10, 21)],
    [(0.5, 0.9, 1.3), (1.0, 1.0, 1.0), (33, 31, 30), (17, 28, 39)],
    [(1.0, 1.0, 1.0), (2.0, 0.3, 1.1), (31, 8, 17), (16, 24, 16)],
    [(2.5, 2.5, 2.5), (1.0, 1.0, 1.0), (2, 4, 6), (4, 8, 14)],  # 7.5 + 1 → 8, 12.5 + 1 → 14: halves to even
    [(3.0, 3.0, 3.0), (1.0, 2.0, 7.0), (1, 2, 3), (1, 2, 2)],
]


def scipy_samples(volume: torch.Tensor, positions: list, mode: str) -> np.ndarray:
    """Sample as MONAI's Spacing does: SciPy, one voxel at a time, in float64."""
    grid = np.stack(np.meshgrid(*positions, indexing="ij"))
    return ndimage.map_coordinates(volume.double().numpy(), grid, order=3, mode=mode)


def on_grid(*functions, positions: list) -> torch.Tensor:
    """Outer product of one function for each axis, at the given positions."""
    x, y, z = (
        function(torch.as_tensor(p, dtype=torch.float64)) for function, p in zip(functions, positions, strict=True)
    )
    return x[:, None, None] * y[:, None] * z


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("spacing_in", "spacing_out", "in_shape", "out_shape"), SPACINGS)
def test_resample_equals_scipy(spacing_in, spacing_out, in_shape, out_shape, mode, generator):
    volume = torch.rand(in_shape, generator=generator)
    resampled = resample(volume, spacing_in, spacing_out, mode=mode)
    positions = [np.arange(n) * b / a for n, a, b in zip(out_shape, spacing_in, spacing_out, strict=True)]
    assert resampled.shape == out_shape == resampled_shape(in_shape, spacing_in, spacing_out)
    assert resampled.dtype == torch.float32
    np.testing.assert_allclose(resampled.numpy(), scipy_samples(volume, positions, mode), rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding_mode", ["border", *MODES])
@pytest.mark.parametrize(("spacing_in", "spacing_out", "in_shape", "out_shape"), SPACINGS[:5])
def test_resample_equals_monai_spacing(spacing_in, spacing_out, in_shape, out_shape, padding_mode, generator):
    rotation = np.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64).numpy())[0]
    affine = np.eye(4)
    affine[:3] = np.c_[np.diag([-1, 1, 1]) * spacing_in, [30, -20.5, 7]]
    oblique = np.array(affine)
    oblique[:3, :3] = rotation @ affine[:3, :3]
    volume = torch.rand(1, *in_shape, generator=generator)
    mode = "nearest" if padding_mode == "border" else padding_mode  # MONAI's default, border, is SciPy's nearest
    for matrix in (
        (affine, oblique) if in_shape != (2, 4, 6) else (affine,)
    ):  # a rotation's rounding decides exact halves
        theirs = Spacing(spacing_out, mode=3, padding_mode=padding_mode)(MetaTensor(volume, affine=matrix))
        ours = resample(volume, spacing_in, spacing_out, mode=mode)
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs.as_tensor(), rtol=0, atol=1e-5)
        torch.testing.assert_close(resampled_affine(matrix, spacing_out), theirs.affine, rtol=0, atol=1e-9)


def test_shape_is_that_of_monai_for_many_volumes(generator):
    sides = torch.randint(1, 600, (200, 3), generator=generator)
    spacings = torch.tensor([0.4, 0.5, 0.7, 0.78125, 0.9375, 1.0005, 1.25, 1.5, 2.5, 3.0, 5.0], dtype=torch.float64)
    picks = torch.randint(len(spacings), (200, 3), generator=generator)
    for shape, spacing in zip(sides.tolist(), spacings[picks].tolist(), strict=True):
        image = MetaTensor(torch.zeros(1, 1, 1, 1).expand(1, *shape), affine=np.diag([*spacing, 1]))
        theirs = Spacing((1, 1, 1), mode=3, lazy=True)(image)
        assert resampled_shape(shape, spacing, (1, 1, 1)) == tuple(theirs.peek_pending_shape())
        torch.testing.assert_close(resampled_affine(image.affine, (1, 1, 1)), theirs.peek_pending_affine())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_in", [1, 2, 3, 4, 7, 30])
def test_axis_matrix_equals_scipy_inside_and_outside(n_in, mode, generator):
    signal = torch.rand(n_in, generator=generator, dtype=torch.float64)
    positions = torch.linspace(-3.2, n_in + 2.3, 41, dtype=torch.float64)
    matrix = axis_matrix(n_in, positions.tolist(), mode)
    assert matrix.shape == (41, n_in)
    assert matrix.dtype == torch.float64
    expected = ndimage.map_coordinates(signal.numpy(), positions.numpy()[None], order=3, mode=mode)
    np.testing.assert_allclose((matrix @ signal).numpy(), expected, rtol=0, atol=1e-12)
    inexact = mode == "reflect" and n_in < 10  # SciPy's own recursion starts a little off on such short axes
    atol = 1e-3 if inexact else 1e-12
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(41, dtype=torch.float64), rtol=0, atol=atol)


def test_resize_equals_scipy_zoom_of_cells(generator):
    cube = torch.rand(20, 16, 10, generator=generator)
    zoomed = ndimage.zoom(cube.double().numpy(), (0.6, 1.5, 0.5), order=3, mode="reflect", grid_mode=True)
    resized = resize(cube, (12, 24, 5), antialias=False, mode="reflect")
    np.testing.assert_allclose(resized.numpy(), zoomed, rtol=0, atol=1e-5)


def test_antialiased_resize_is_gaussian_then_spline(generator):
    cube = torch.rand(24, 20, 12, generator=generator)
    smooth = ndimage.gaussian_filter(cube.double().numpy(), (1.0, 0, 0.25), mode="nearest")
    expected = resize(torch.from_numpy(smooth), (8, 20, 8), antialias=False)
    torch.testing.assert_close(resize(cube, (8, 20, 8)).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "in_shape", "out_shape"),
    [
        ({}, (2, 1, 20, 18, 9), (16, 16, 8)),
        ({"antialias": False}, (20, 18, 9), (16, 16, 8)),
        ({"mode": "mirror"}, (3, 1, 2, 3), (4, 5, 6)),
        ({}, (2, 2, 2, 8, 8, 8), (1, 1, 1)),
    ],
)
def test_resize_shape_and_constants(kwargs, in_shape, out_shape):
    resized = resize(torch.full(in_shape, 0.3), out_shape, **kwargs)
    assert resized.shape == (*in_shape[:-3], *out_shape)
    torch.testing.assert_close(resized, torch.full_like(resized, 0.3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_constants_stay_constant(mode):
    resampled = resample(torch.full((9, 30, 6), 0.7), (0.7, 0.4, 2.5), (1, 1, 1), shape=(11, 15, 13), mode=mode)
    torch.testing.assert_close(resampled, torch.full((11, 15, 13), 0.7), rtol=0, atol=1e-6)


def test_equal_spacing_returns_the_same_voxels(generator):
    volume = torch.rand(1, 7, 6, 5, generator=generator)
    assert torch.equal(resample(volume, (1, 2, 3), (1, 2, 3)), volume)
    assert torch.equal(resample(volume, (1.0, 1.0000004, 0.9995), (1, 1, 1)), volume)
    assert torch.equal(resize(volume, (7, 6, 5)), volume)
    turned = resample(volume, (1, 1, 2.5), (1, 1, 1))
    assert torch.equal(
        turned, apply_matrices(volume, [torch.eye(7), torch.eye(6), axis_matrix(5, np.arange(11) / 2.5)])
    )


def test_cubic_polynomials_are_reproduced():
    # Far from the ends, where the boundary's assumption has decayed (by 3.7 a voxel), the spline is the polynomial.
    inside = np.arange(20, 40, 0.37)
    polynomials = [lambda t: (t / 60) ** 3 - t / 60, lambda t: 1 - (t / 60) ** 2, lambda t: 0.5 + t / 60]
    volume = on_grid(*polynomials, positions=[np.arange(60)] * 3)
    sampled = resample_to_grid(volume, [inside] * 3)
    torch.testing.assert_close(sampled, on_grid(*polynomials, positions=[inside] * 3), rtol=0, atol=1e-8)


def test_a_result_returns_onto_its_own_grid():
    waves = [lambda t: 1 + 0.5 * torch.cos(t / 4), lambda t: torch.cos(t / 5), lambda t: torch.cos(t / 3)]
    volume = on_grid(*waves, positions=[np.arange(40), np.arange(37), np.arange(24)]).float()
    spacing = (0.8, 0.9, 1.2)
    there = resample(volume, spacing, (0.5, 0.5, 0.5))
    back = resample(there, (0.5, 0.5, 0.5), spacing, shape=volume.shape)
    assert back.shape == volume.shape
    # The last voxels may lie outside of the finer grid by half of its voxels, hence the looser bound there.
    torch.testing.assert_close(back[2:-2, 2:-2, 2:-2], volume[2:-2, 2:-2, 2:-2], rtol=0, atol=2e-3)
    torch.testing.assert_close(back, volume, rtol=0, atol=0.1)


def test_a_batch_equals_one_by_one(generator):
    cubes = torch.rand(3, 2, 14, 12, 10, generator=generator)
    for batched, each in (
        (resize(cubes, (8, 16, 5)), [resize(cube, (8, 16, 5)) for cube in cubes]),
        (resample(cubes, (1, 2, 3), (2, 2, 2)), [resample(cube, (1, 2, 3), (2, 2, 2)) for cube in cubes]),
    ):
        torch.testing.assert_close(batched, torch.stack(each), rtol=0, atol=1e-6)


def test_memory_layout_and_dtype_do_not_matter(generator):
    volume = torch.randint(-1000, 1000, (1, 9, 8, 7), generator=generator).float()
    expected = resample(volume, (0.7, 0.7, 2.5), (1, 1, 1))
    strided = volume.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    torch.testing.assert_close(resample(strided, (0.7, 0.7, 2.5), (1, 1, 1)), expected)
    torch.testing.assert_close(resample(volume.short(), (0.7, 0.7, 2.5), (1, 1, 1)), expected)
    assert resample(volume.double(), (0.7, 0.7, 2.5), (1, 1, 1)).dtype == torch.float64
    assert type(resample(MetaTensor(volume), (0.7, 0.7, 2.5), (1, 1, 1))) is torch.Tensor
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resample(volume, (0.7, 0.7, 2.5), (1, 1, 1)), expected)


def test_long_axes_are_cut_into_blocks(generator):
    volume = torch.rand(3, 300, 4, generator=generator)
    positions = [np.arange(3), np.arange(300)[::-1] * 0.99, np.arange(4)]
    expected = scipy_samples(volume, positions, "nearest")
    np.testing.assert_allclose(resample_to_grid(volume, positions).numpy(), expected, rtol=0, atol=1e-5)
    nothing = apply_matrices(volume, [torch.eye(3), torch.zeros(5, 300), torch.eye(4)])
    assert torch.equal(nothing, torch.zeros(3, 5, 4))


def test_antialiasing_removes_what_the_new_voxels_cannot_hold():
    wave = torch.cos(2 * torch.pi * 0.4 * torch.arange(32.0)).expand(32, 32, 32)  # period 2.5 voxels, shrunk 4 times
    plain, low_passed = (resize(wave, (32, 32, 8), antialias=choice)[..., 1:-1] for choice in (False, True))
    assert plain.var() > 0.1
    assert low_passed.var() < 1e-3 * plain.var()


def test_gradients_pass(generator):
    volume = torch.rand(5, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda cube: resize(cube, (3, 6, 2)), volume)


def test_matrices_are_built_once_and_cannot_be_modified():
    positions = [0.25, 1.5]
    axis_matrix(6, positions).zero_()
    torch.testing.assert_close(axis_matrix(6, positions).sum(dim=1), torch.ones(2, dtype=torch.float64))


def test_affine_accepts_tensors_and_leaves_them():
    affine = torch.diag(torch.tensor([-0.5, 2.0, 1.0, 1.0]))
    scaled = resampled_affine(affine, (1, 1, 1))
    assert torch.equal(scaled, torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64)))
    assert affine[0, 0] == -0.5


VOLUME = torch.zeros(4, 4, 4)
ONES = (1, 1, 1)
NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resample(VOLUME, (1, 0, 1), ONES), r"spacing_in: got \(1.0, 0.0, 1.0\), expected three positive"),
        (lambda: resample(VOLUME, ONES, (1, -2, 1)), r"spacing_out: got \(1.0, -2.0, 1.0\)"),
        (lambda: resample(VOLUME, ONES, (1, NAN, 1)), "spacing_out: .*nan"),
        (lambda: resample(VOLUME, (1, 1), ONES), r"spacing_in: got \(1.0, 1.0\)"),
        (lambda: resample(VOLUME, ONES, ONES, shape=(4, 0, 4)), r"shape: got \(4, 0, 4\), expected three positive"),
        (
            lambda: resample(VOLUME, ONES, ONES, mode="constant"),
            "mode: got 'constant', expected one of nearest, mirror",
        ),
        (lambda: resample(VOLUME[0], ONES, ONES), r"volume: got shape \(4, 4\), expected \(..., H, W, D\)"),
        (lambda: resample(VOLUME[:, :0], ONES, ONES), r"volume: got shape \(4, 0, 4\)"),
        (lambda: resize(VOLUME, (4, 4)), r"shape: got \(4, 4\), expected three positive integers"),
        (lambda: resize(VOLUME, (4, 4, 2.5)), r"shape: got \(4, 4, 2.5\)"),
        (lambda: resize(VOLUME[0], (4, 4, 4)), r"volume: got shape \(4, 4\)"),
        (lambda: resample_to_grid(VOLUME, [[0.0], [0.0]]), "positions: got 2 lists"),
        (lambda: resample_to_grid(VOLUME, [[0.0], [NAN], [0.0]]), "positions: found a NaN or infinite"),
        (lambda: resample_to_grid(VOLUME, [[0.0], [], [0.0]]), "n_in = 4 and 0 positions"),
        (lambda: axis_matrix(4, [0.0], blur=-1), "blur: got -1"),
        (lambda: apply_matrices(VOLUME, [torch.eye(4), torch.eye(5), torch.eye(4)]), r"matrices: got .*\(5, 5\)"),
        (lambda: apply_matrices(VOLUME, [torch.eye(4)]), r"matrices: got shapes \[\(4, 4\)\]"),
        (lambda: resampled_affine(np.eye(3), ONES), r"affine: got shape \(3, 3\), expected \(4, 4\)"),
        (lambda: resampled_affine(np.diag([1, 0, 1, 1]), ONES), r"spacing_in: got \(1.0, 0.0, 1.0\)"),
        (lambda: resampled_shape((4, 4, -1), ONES, ONES), r"shape: got \(4, 4, -1\)"),
    ],
)
def test_errors_name_the_argument_and_what_was_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_equals_cpu(generator):
    volume = torch.rand(2, 1, 30, 28, 9, generator=generator)
    for function in (lambda cubes: resample(cubes, (0.7, 0.7, 2.5), ONES), lambda cubes: resize(cubes, (16, 16, 8))):
        torch.testing.assert_close(function(volume.cuda()).cpu(), function(volume), rtol=0, atol=1e-5)
