# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from scan_files import SMALL, body, write_scan

from universal_model_components.cubes.cases import cut_case, prepare_case, skipped
from universal_model_components.cubes.recipe import make_recipe
from universal_model_components.imaging.errors import ScanError


@pytest.fixture
def case(tmp_path):
    file = write_scan(tmp_path / "ct" / "a.nii", body())
    return {"case": "ct/a", "file": str(file), "modality": "ct", "set": "own"}


def test_the_cubes_of_a_case_are_a_function_of_scan_and_recipe(case, tmp_path):
    recipe = make_recipe(SMALL, ["ct"])
    scan, cubes, values, mark = cut_case(case, recipe)
    assert sorted(mark) == ["levels", "places", "voxels"]
    assert cubes.counts == [2, 2, 4]
    assert cubes.values.shape == (8, 16, 16, 8)
    assert scan.volume.shape == (32, 32, 32)
    assert values.min() < -1000  # the file's own unit
    again = cut_case(case, recipe)[1]
    np.testing.assert_array_equal(cubes.values, again.values)
    np.testing.assert_array_equal(cubes.boxes, again.boxes)
    assert torch.equal(scan.volume, cut_case(case, recipe)[0].volume)


def test_a_scan_too_small_for_any_cube_is_named(case, tmp_path):
    write_scan(tmp_path / "ct" / "a.nii", body((4, 4, 4)))
    with pytest.raises(ScanError, match=r"^.*/ct/a\.nii: .* too small for any scale"):
        cut_case(case, make_recipe(SMALL, ["ct"]))
    result = prepare_case(case, make_recipe(SMALL, ["ct"]), str(tmp_path / "cubes"))
    assert result["status"] == "skipped"
    assert result == skipped(case, result["problem"])
    assert result["counts"] == [0, 0, 0]
