# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scan_files import body, write_scan

from universal_model_components.datalists.inspection import inspect_file
from universal_model_components.imaging.scan_files import content_hash

SHAPE = (8, 7, 6)


def test_an_image_has_a_fingerprint_and_a_mask_its_labels(tmp_path):
    image = write_scan(tmp_path / "image.nii", body(SHAPE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[:2] = 4
    label = write_scan(tmp_path / "label.nii", mask)
    found = inspect_file({"file": str(image), "kind": "image"})
    assert (found["problem"], found["shape"], found["sha256"]) == (None, list(SHAPE), content_hash(image))
    assert "labels" not in found
    assert set(found["fingerprint"]) >= {"voxels", "levels"}
    assert found["notes"] == []
    found = inspect_file({"file": str(label), "kind": "mask"})
    assert found["labels"] == [[0, 6 * 7 * 6], [4, 2 * 7 * 6]]
    assert "fingerprint" not in found


def test_what_in_a_header_is_worth_a_line_is_kept(tmp_path):
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[0, 2] = 0.5
    found = inspect_file({"file": str(write_scan(tmp_path / "a.nii", body(SHAPE), sheared)), "kind": "image"})
    assert ["off a right angle" in note for note in found["notes"]] == [True]


@pytest.mark.parametrize(
    ("voxels", "kind", "message"),
    [
        (np.full(SHAPE, 3, np.int16), "image", "constant volume (every voxel is 3)"),
        (np.where(body(SHAPE) > 0, np.nan, 1).astype(np.float32), "image", "voxels are NaN or infinite"),
        (body(SHAPE, "mri"), "mask", "not a mask"),
    ],
)
def test_what_is_wrong_is_the_files_problem(tmp_path, voxels, kind, message):
    file = write_scan(tmp_path / "a.nii", voxels)
    found = inspect_file({"file": str(file), "kind": kind})
    assert found["problem"].startswith(f"{file}: ")
    assert message in found["problem"]
