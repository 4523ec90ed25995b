# SPDX-License-Identifier: Apache-2.0
"""Planes: the right ones, the right way up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from universal_model_components.figures.planes import informative_voxel, mosaic, plane_slices


def test_planes_are_turned_as_radiologists_look_at_them() -> None:
    volume = np.arange(4 * 3 * 2).reshape(4, 3, 2)
    axial, coronal, sagittal = plane_slices(volume, (1, 2, 0))
    assert (axial.shape, coronal.shape, sagittal.shape) == ((3, 4), (2, 4), (2, 3))
    assert axial[0, 0] == volume[3, 0, 0]  # the patient's right on the left, the back at the bottom (first row)
    assert coronal[1, 3] == volume[0, 2, 1]
    assert sagittal[1, 2] == volume[1, 2, 1]


def test_informative_voxel_is_where_the_corruption_is(generator: torch.Generator) -> None:
    original = torch.rand(24, 20, 16, generator=generator).numpy()
    corrupted = original.copy()
    corrupted[2:6, 3:7, 12:15] = 0
    voxel = informative_voxel(original, corrupted)
    assert all(low <= v < high for v, (low, high) in zip(voxel, ((2, 6), (3, 7), (12, 15)), strict=True))
    assert informative_voxel(original, 1 - original) == (12, 10, 8)  # everywhere: the middle
    assert informative_voxel(original, original) == (12, 10, 8)  # nowhere: the middle


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 8, 4), (10, 18)), ((8, 10, 4), (12, 20)), ((8, 6, 4), (6, 26)), ((4, 4, 8), (8, 16))]
)
def test_mosaic_holds_all_three_planes(shape: tuple[int, int, int], size: tuple[int, int]) -> None:
    planes = plane_slices(np.ones(shape), (0, 0, 0))
    picture = mosaic(planes)
    assert picture.shape == size
    assert np.nansum(picture) == sum(plane.size for plane in planes)
