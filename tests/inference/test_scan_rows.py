# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from scan_files import body, make_dataset, write_datalist, write_scan
from user_errors import raises_user_error

from universal_model_components.inference.scan_rows import ScanRow, identity_columns, list_rows

BOTH = ["ct", "mri"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("scans"), ct=1, mri=1)


def test_a_folder_a_scan_and_a_datalist(scans, tmp_path):
    ct, mri = (str(scans / name / "scan_0.nii.gz") for name in BOTH)
    both = [ScanRow(ct, "ct/scan_0", "ct"), ScanRow(mri, "mri/scan_0", "mri")]
    assert list_rows(scans, BOTH) == both
    assert list_rows(ct, BOTH) == [ScanRow(ct, "scan_0", "ct")]
    assert list_rows(ct, BOTH, "mri") == [ScanRow(ct, "scan_0", "mri")]
    assert list_rows(scans / "ct") == [ScanRow(ct, "scan_0")]
    datalist = write_datalist(tmp_path, scans)  # its root is the folder
    assert list_rows(datalist, BOTH) == both
    assert list_rows(datalist, BOTH, split="training") == both
    content = json.loads(datalist.read_text())
    del content["root"]
    datalist.write_text(json.dumps(content))
    assert list_rows(datalist, BOTH, dataset_dir=scans) == both


def test_a_table_of_scans_and_points(scans, tmp_path):
    table = scans / "points.csv"
    lines = ["Image_Path,coordX,coordY,coordZ,size,modality", "ct/scan_0.nii.gz,,,,,ct", "a.nii,1,-2.5,3e1,,mri"]
    table.write_text("\n".join([*lines, "b.nii,0,0,0,40,mri", "b.nii,0,0,0,40 30 20,mri"]) + "\n")
    b = str(scans / "b.nii")
    assert list_rows(table, BOTH) == [
        ScanRow(str(scans / "ct/scan_0.nii.gz"), "ct/scan_0", "ct"),
        ScanRow(str(scans / "a.nii"), "a", "mri", (1.0, -2.5, 30.0)),
        ScanRow(b, "b", "mri", (0.0, 0.0, 0.0), (40.0, 40.0, 40.0)),
        ScanRow(b, "b", "mri", (0.0, 0.0, 0.0), (40.0, 30.0, 20.0)),
    ]
    assert list_rows(table, dataset_dir=tmp_path)[1] == ScanRow(str(tmp_path / "a.nii"), "a", None, (1.0, -2.5, 30.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ["image\n", "no row"],
        ["file\na.nii\n", "no column image or image_path"],
        ["image,x,y,z\n,1,2,3\n", "row 1: image is empty"],
        ["image,x,y,z\na.nii,1,2,\n", r"row 1: x, y, z is '1 2', expected 3 numbers in mm"],
        ["image,x,y,z\na.nii,1,2,nan\n", "row 1: x, y, z is '1 2 nan'"],
        ["image,x,y,z,size\na.nii,1,2,3,4 5\n", "row 1: size is '4 5', expected 1 or 3 numbers"],
        ["image,x,y,z,size\na.nii,1,2,3,0\n", "row 1: size is '0', expected a cube's sides"],
        ["image,size\na.nii,9\n", "row 1: size is '9', expected a cube's sides in mm around a point"],
    ],
)
def test_an_invalid_table_is_one_line(text, message, tmp_path):
    (tmp_path / "points.csv").write_text(text)
    with raises_user_error(message):
        list_rows(tmp_path / "points.csv")


def test_what_is_no_scan_or_has_no_modality_is_one_line(tmp_path):
    with raises_user_error("scans: no file or folder .*none: give"):
        list_rows(tmp_path / "none", BOTH)
    scan = write_scan(tmp_path / "other" / "a.nii.gz", body((8, 8, 8)))
    with raises_user_error(r"modality: 'other' of .* is not one of \['ct', 'mri'\]: give modality"):
        list_rows(scan, BOTH)
    with raises_user_error("no scan in .* or modality"):
        list_rows(scan.parent, BOTH)
    with raises_user_error(r"split: 'test' is a list of a datalist, which .*a\.nii\.gz is not: leave it out"):
        list_rows(scan, split="test")


def test_columns_without_any_value_are_left_out():
    assert identity_columns([ScanRow("a.nii", "a")]) == {"image": ["a.nii"], "case": ["a"]}
    columns = identity_columns(
        [ScanRow("a.nii", "a", "ct"), ScanRow("b.nii", "b", "ct", (1.0, 2.0, 3.0), (4.0, 5.0, 6.5))]
    )
    assert columns["modality"] == ["ct", "ct"]
    assert [columns[name] for name in "xyz"] == [[None, 1.0], [None, 2.0], [None, 3.0]]
    assert columns["size"] == [None, "4 5 6.5"]
