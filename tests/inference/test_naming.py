# SPDX-License-Identifier: Apache-2.0
"""Names of results, from paths that hold anything, stay below the output folder."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from monai.data import FolderLayout
from scan_files import body, write_scan

from universal_model_components.inference.inputs import list_scans
from universal_model_components.inference.naming import LONGEST, ResultName, result_name, subject_of

PATHS = [
    ("/data/scans/a.nii.gz", "a"),
    ("/data/scans/ct/deep/a.b.mha", "ct/deep/a.b"),
    ("/data/scans/X.NII.GZ", "X"),
    ("/data/other/a.nii", "other/a"),
    ("/site/a.nii", "site/a"),
    ("/data/scans/../../etc/passwd.nii.gz", "etc/passwd"),
    ("/data/scans/a/../b.nrrd", "b"),
    ("/data/scans/..a/b.nii", "..a/b"),
    ("/data/scans", "scans"),
    ("/data", "data"),
    ("/data/scans/new\nline %s {}.nii.gz", "new\nline %s {}"),
]


@pytest.mark.parametrize(("file", "name"), PATHS)
def test_a_name_never_leaves_the_folder(file, name, tmp_path):
    assert result_name(file, "/data/scans") == name
    formatted = ResultName("/data/scans")({"filename_or_obj": file}, SimpleNamespace(_data_index=3))
    assert formatted == {"subject": subject_of(file, "/data/scans"), "idx": None}
    layout = FolderLayout(str(tmp_path), "seg", ".nii.gz", data_root_dir="/data/scans")
    assert layout.filename(**formatted) == f"{tmp_path}/{name}_seg.nii.gz"


def test_a_result_of_a_server_is_named_by_its_number():
    assert ResultName("/data")({}, SimpleNamespace(_data_index=3)) == {"subject": "3", "idx": None}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["x.mha", "x.nii.gz"], r"x\.nii\.gz: would be written over .*x\.mha's result"),
        (["a/x.nii", "a/../a/x.nii.gz"], "would be written over"),
        (["../site/x.nii", "site/x.nii"], r"site/x\.nii: would be written over .*\.\./site/x\.nii's result"),
        (["y" * (LONGEST + 1) + ".nii"], f"its name is longer than {LONGEST} bytes"),
    ],
)
def test_results_over_one_another_are_refused_before_anything_is_read(images, message, tmp_path):
    (tmp_path / "scans").mkdir()
    entries = [{"image": image, "case": str(number)} for number, image in enumerate(images)]
    (tmp_path / "list.json").write_text(json.dumps({"test": entries}))
    with pytest.raises(ValueError, match=message) as caught:
        list_scans(tmp_path / "scans", tmp_path / "list.json", "test")
    assert "\n" not in str(caught.value)


def test_scans_elsewhere_are_listed(tmp_path):
    file = write_scan(tmp_path / "site/x.nii.gz", body((8, 8, 8)))
    (tmp_path / "list.json").write_text(json.dumps({"test": [{"image": str(file)}, {"image": "gone.nii"}]}))
    scans = list_scans(tmp_path / "lists", tmp_path / "list.json", "test")
    assert [result_name(scan["image"], tmp_path / "lists") for scan in scans] == ["site/x", "gone"]
