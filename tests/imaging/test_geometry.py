# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from universal_model_components.imaging.errors import ScanError
from universal_model_components.imaging.geometry import (
    Grid,
    check_affine,
    check_same_grid,
    corner_distance,
    grid_positions,
    nearest_on_grid,
    resample_to_affine,
    shear_of,
)

TURNED = np.array([[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def moved(mm: float) -> np.ndarray:
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[0, 3] = mm
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        [(4, 5, 6), moved(0.0), None],
        [[4, 5, 6], moved(0.19), None],  # of 2 mm, a tenth is rounding
        [
            (4, 5, 7),
            moved(0.0),
            r"^label: shape \(4, 5, 7\), expected \(4, 5, 6\) of image: give a label of its image$",
        ],
        [(4, 5, 6), moved(0.3), r"^label: its corners lie up to 0.3 mm from those of image: resample the label"],
        [(4, 5, 6), TURNED @ moved(0.0), "corners lie up to"],
        [(4, 5, 6), moved(np.nan), "corners lie up to nan mm"],
    ],
)
def test_check_same_grid(shape, affine, message):
    label, image = Grid("label", shape, affine), Grid("image", (4, 5, 6), moved(0.0))
    if message is None:
        check_same_grid(label, image)
        return
    with pytest.raises(ScanError, match=message):
        check_same_grid(label, image)
    with pytest.raises(ScanError, match=r": look at the transforms$"):
        check_same_grid(label, image, "look at the transforms")


def test_nearest_on_grid_equals_voxel_by_voxel(generator):
    mask = (torch.rand(1, 6, 5, 7, generator=generator) > 0.5).float()
    affine = np.array([[0, -2.1, 0, 9], [1.7, 0, 0, -3], [0, 0, 3.3, 1], [0, 0, 0, 1]])
    target = np.array([[1.0, 0, 0, 0.6], [0, 1.0, 0, -3], [0, 0, 1.0, 1], [0, 0, 0, 1]])
    shape = (9, 8, 20)
    found = nearest_on_grid(mask, affine, target, shape)
    expected = torch.empty(shape)
    for voxel in np.ndindex(*shape):
        where = np.linalg.inv(affine) @ target @ [*voxel, 1]
        nearest = [int(np.floor(w + 0.5 + 1e-6).clip(0, n - 1)) for w, n in zip(where, mask.shape[1:], strict=False)]
        expected[voxel] = mask[0, nearest[0], nearest[1], nearest[2]]
    assert torch.equal(found[0], expected)


def test_resample_to_affine_names_crossed_axes():
    with pytest.raises(ValueError, match="not parallel"):
        resample_to_affine(torch.rand(4, 4, 4), np.eye(4), TURNED, (4, 4, 4))


def test_corner_distance_is_the_largest_of_the_eight():
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    assert corner_distance(affine, affine, (4, 5, 6)) == 0
    assert corner_distance(moved(0.7), affine, (4, 5, 6)) == pytest.approx(0.7)
    longer = np.diag([2.0, 2.0, 3.1, 1.0])  # the last of six slices is five steps away
    assert corner_distance(longer, affine, (4, 5, 6)) == pytest.approx(0.5)


def test_shear_is_how_far_axes_are_from_right_angles():
    turned = np.diag([2.0, -1.0, 3.0, 1.0])[[1, 2, 0, 3]]
    assert shear_of(turned) == pytest.approx(0)
    tilted = turned @ np.array([[1, 0, 0, 0], [0, 1, np.tan(np.radians(15)) * 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert shear_of(tilted) == pytest.approx(np.degrees(np.arctan(np.tan(np.radians(15)) * 2 / 3)))
    assert shear_of(np.zeros((4, 4))) == 0


def test_an_affine_must_span_a_volume():
    check_affine("a.nii", moved(3.0))
    flat = np.diag([2.0, 2.0, 0.0, 1.0])
    for wrong in (flat, np.full((4, 4), np.nan)):
        with pytest.raises(ScanError, match=r"^a\.nii: singular affine .*: repair the header's orientation$"):
            check_affine("a.nii", wrong)


def test_grid_positions_follow_flipped_and_permuted_axes():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    target = np.array([[0, -1.0, 0, 5], [0, 0, 1, 1], [2, 0, 0, 4], [0, 0, 0, 1]])
    positions, axes = grid_positions(affine, target, (3, 4, 5))
    assert axes == [2, 0, 1]
    np.testing.assert_allclose(positions[0], 5 - np.arange(4))
    np.testing.assert_allclose(positions[1], 1 + np.arange(5))
    np.testing.assert_allclose(positions[2], 2 + np.arange(3))
    with pytest.raises(ValueError, match="are not parallel"):
        grid_positions(affine, TURNED @ affine, (3, 4, 5))
