# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from universal_model_components.imaging.errors import ScanError
from universal_model_components.imaging.headers import Header, check_header, notes_of, without_trailing_ones

PLACED = np.diag([1.0, 1.0, 2.0, 1.0])
GOOD = Header((4, 3, 2), PLACED, "int16", True, ["x.nii: as the format has it"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (4, 3)}, r"2D image of shape \(4, 3\), not one 3D volume"),
        ({"shape": (4, 3, 1)}, "2D image"),
        ({"shape": (4, 3, 2, 5)}, "4D image"),
        ({"kind": "rgb", "scalar": False}, "voxels of type rgb, not one number each"),
        ({"affine": np.zeros((4, 4))}, "singular affine"),
    ],
)
def test_a_header_is_that_of_one_volume(changes, message):
    check_header("x.nii", GOOD)
    with pytest.raises(ScanError, match=f"^x.nii: {message}"):
        check_header("x.nii", GOOD._replace(**changes))


def test_notes_are_of_the_format_and_of_the_place():
    assert notes_of("x.nii", GOOD) == GOOD.notes
    for affine in (np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])):  # of MetaImage, whose axes are LPS
        (_, lost) = notes_of("x.nii", GOOD._replace(affine=affine))
        assert lost.startswith("x.nii: the affine is the identity")
    (_, sheared) = notes_of("x.nii", GOOD._replace(affine=PLACED + np.eye(4, k=2)))
    assert sheared == "x.nii: axes are 26.6° off a right angle (tilted gantry?): kept as they are"


def test_axes_of_one_voxel_after_the_third_do_not_count():
    assert [without_trailing_ones(s) for s in ((4, 3, 2, 1, 1), (4, 3, 1), (4, 3, 1, 2))] == [
        *((4, 3, 2), (4, 3, 1)),
        (4, 3, 1, 2),
    ]
