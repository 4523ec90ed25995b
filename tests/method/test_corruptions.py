# SPDX-License-Identifier: Apache-2.0
"""Flip, intensity map and painting against slow references, batched against one by one."""

from __future__ import annotations

import numpy as np
import pytest
import references
import torch

from universal_model_components.method.corruptions import (
    MAP_POINTS,
    check_cubes,
    flip,
    gather_voxels,
    inner_paint,
    map_intensity,
    mask_blocks,
    outer_paint,
    spread_blocks,
    tabulate_curves,
)

SHAPES = [(3, 1, 16, 16, 8), (2, 2, 9, 7, 5), (1, 1, 8, 8, 8)]
PAINTS = [(inner_paint, False), (outer_paint, True)]


def random_boxes(shape, generator):
    corners = [torch.randint(0, side + 1, (shape[0], 4, 2), generator=generator).sort(2).values for side in shape[2:]]
    return torch.stack(corners, -1)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_chosen_axes(shape, generator):
    cubes = torch.rand(shape, generator=generator)
    axes = torch.rand(shape[0], 3, generator=generator) < 0.5
    expected = np.stack([references.flip(c, a) for c, a in zip(cubes.numpy(), axes.numpy(), strict=True)])
    flipped = flip(cubes, axes)
    assert np.array_equal(flipped.numpy(), expected)
    assert torch.equal(flip(flipped, axes), cubes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("paint", "outer"), PAINTS)
def test_paint_matches_reference(shape, paint, outer, generator):
    cubes, noise = torch.rand(2, *shape, generator=generator)
    boxes = random_boxes(shape, generator)
    boxes[:, 0, 1] = boxes[:, 0, 0]  # an empty box covers nothing
    painted = paint(cubes, boxes, noise).numpy()
    samples = zip(cubes.numpy(), boxes.numpy(), noise.numpy(), strict=True)
    assert np.array_equal(painted, np.stack([references.paint(*sample, outer) for sample in samples]))


@pytest.mark.parametrize("paint", [inner_paint, outer_paint])
def test_paint_names_a_box_that_leaves_the_cube(paint):
    cubes = torch.zeros(2, 1, 8, 8, 8)
    boxes = torch.zeros(2, 3, 2, 3, dtype=torch.int64)
    boxes[1, 2, 1] = torch.tensor([4, 9, 4])
    with pytest.raises(ValueError, match=r"boxes: box 2 of sample 1, \[0, 0, 0\] to \[4, 9, 4\], leaves the cube"):
        paint(cubes, boxes, cubes)


def test_map_follows_the_curve(generator):
    control = torch.rand(40, 2, 2, generator=generator)
    decreasing = torch.arange(40) % 2 == 0
    cubes = torch.rand(40, 1, 12, 12, 12, generator=generator)
    mapped = map_intensity(cubes, control, decreasing).numpy()
    samples = zip(cubes.numpy(), control.numpy(), decreasing.tolist(), strict=True)
    error = np.abs(mapped - np.stack([references.bezier_map(*sample) for sample in samples]))
    assert np.mean(error) < 1e-5
    assert np.quantile(error, 0.999) < 1e-4
    assert error.max() < 2e-2  # next to an almost vertical tangent only


def test_map_is_linear_between_its_points(generator):
    control, decreasing = torch.rand(6, 2, 2, generator=generator), torch.arange(6) < 3
    cubes = torch.rand(6, 1, 16, 16, 16, generator=generator)
    cubes[:, :, 0, 0, 0], cubes[:, :, 0, 0, 1] = 0, 1
    mapped = map_intensity(cubes, control, decreasing)
    grid = np.linspace(0, 1, MAP_POINTS)
    for cube, heights, result in zip(cubes, tabulate_curves(control, decreasing), mapped, strict=True):
        assert np.abs(np.interp(cube.numpy(), grid, heights.numpy()) - result.numpy()).max() < 1e-5
    assert torch.allclose(mapped[:, 0, 0, 0, 0], decreasing.float())
    assert torch.allclose(mapped[:, 0, 0, 0, 1], (~decreasing).float())


@pytest.mark.parametrize(
    "control",
    [[[0, 0], [1, 1]], [[1, 0], [0, 1]], [[0, 1], [0, 1]], [[1, 0], [1, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]],
)
@pytest.mark.parametrize("decreasing", [False, True])
def test_map_is_monotone_and_stays_in_range_at_the_corners(control, decreasing):
    values = torch.linspace(0, 1, 20 * 20 * 20).view(1, 1, 20, 20, 20)
    mapped = map_intensity(values, torch.tensor([control], dtype=torch.float32), torch.tensor([decreasing]))
    steps = mapped.flatten().diff() * (-1 if decreasing else 1)
    assert steps.min() > -1e-5
    assert mapped.min() >= 0
    assert mapped.max() <= 1


def test_map_survives_values_outside_the_range():
    cubes = torch.tensor([-1e30, -0.1, 1.1, 1e30, float("inf"), -float("inf"), 0.0, 1.0]).view(1, 1, 2, 2, 2)
    mapped = map_intensity(cubes, torch.tensor([[[0.3, 0.4], [0.5, 0.6]]]), torch.tensor([False]))
    assert mapped.min() >= 0
    assert mapped.max() <= 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtype_is_kept(dtype, generator):
    cubes = torch.rand(2, 1, 8, 8, 8, generator=generator).to(dtype)
    boxes = random_boxes(cubes.shape, generator)
    axes = torch.tensor([[True, False, True], [False, True, False]])
    assert flip(cubes, axes).dtype == dtype
    assert inner_paint(cubes, boxes, torch.rand(cubes.shape)).dtype == dtype
    assert outer_paint(cubes, boxes, torch.rand(cubes.shape)).dtype == dtype
    assert map_intensity(cubes, torch.rand(2, 2, 2), torch.tensor([True, False])).dtype == dtype


@pytest.mark.parametrize("shape", [(2, 16, 16, 8), (1, 13, 11, 7)])
def test_batched_equals_one_by_one(shape, generator):
    cubes, noise = torch.rand(2, 5, *shape, generator=generator)
    boxes, axes = random_boxes(cubes.shape, generator), torch.rand(5, 3, generator=generator) < 0.5
    control, decreasing = torch.rand(5, 2, 2, generator=generator), torch.rand(5, generator=generator) < 0.5
    masked = torch.rand(5, *(-(-side // 4) for side in shape[1:]), generator=generator) < 0.5
    for function, parameters in [
        (flip, (axes,)),
        (map_intensity, (control, decreasing)),
        (inner_paint, (boxes, noise)),
        (outer_paint, (boxes, noise)),
        (lambda cubes, masked: mask_blocks(cubes, masked, 4), (masked,)),
    ]:
        together = function(cubes, *parameters)
        for i in range(5):
            assert torch.equal(function(cubes[i : i + 1], *(p[i : i + 1] for p in parameters))[0], together[i])


@pytest.mark.parametrize("cubes", [torch.zeros(1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8)])
def test_ill_formed_cubes_are_named(cubes):
    with pytest.raises(
        ValueError, match=r"cubes: expected floating-point \(B, C, H, W, D\), found torch\.\w+ of shape"
    ):
        flip(cubes, torch.zeros(1, 3, dtype=torch.bool))


@pytest.mark.parametrize("shape", SHAPES)
def test_voxels_are_gathered_by_their_place_in_the_flat_cube(shape, generator):
    cubes = torch.rand(shape, generator=generator)
    volume = cubes[0, 0].numel()
    source = torch.stack([torch.randperm(volume, generator=generator) for _ in cubes])
    gathered = gather_voxels(cubes, source)
    assert gathered.shape == cubes.shape
    for cube, places, found in zip(cubes, source, gathered, strict=True):
        for channel, given in zip(cube, found, strict=True):
            assert torch.equal(given.flatten(), channel.flatten()[places])
    assert torch.equal(gather_voxels(cubes, torch.arange(volume).expand(len(cubes), -1)), cubes)


def test_check_cubes_returns_the_spatial_shape_of_floating_cubes_alone():
    assert check_cubes(torch.rand(2, 1, 4, 6, 8)) == (4, 6, 8)
    for wrong in (torch.rand(1, 4, 6, 8), torch.zeros(2, 1, 4, 6, 8, dtype=torch.int16)):
        with pytest.raises(ValueError, match=rf"cubes: expected floating-point \(B, C, H, W, D\), found {wrong.dtype}"):
            check_cubes(wrong)


def test_blocks_are_spread_to_their_voxels():
    masked = torch.tensor([True, False, False, True]).view(1, 4, 1, 1)
    spread = spread_blocks(masked, 3, (10, 2, 1))
    assert spread.shape == (1, 1, 10, 2, 1)
    assert spread[0, 0, :, 1, 0].tolist() == [True] * 3 + [False] * 6 + [True]
