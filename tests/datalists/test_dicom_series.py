# SPDX-License-Identifier: Apache-2.0
"""Folders of DICOM series through `datalist folder`, `prepare`, and the lists of the tasks."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from dicom_series import ROOT, write_series
from scan_files import body

from universal_model_components.cubes.preparation import prepare_cubes
from universal_model_components.datalists.folder import find_cases
from universal_model_components.datalists.inspection import inspect_files
from universal_model_components.datalists.own_scans import folder
from universal_model_components.imaging.reading import read_grid
from universal_model_components.imaging.transforms import ReadScand
from universal_model_components.inference.inputs import list_candidates, list_scans
from universal_model_components.tasks.scan_cache import ScanCache
from universal_model_components.tasks.segmentation_data import read_cases

PATIENTS = ("ANNA", "BERTA", "CLARA", "ANNA")
SMALL = {"patch_size": (16, 16, 8), "cubes_per_volume": {"large": 2, "medium": 2, "small": 2}}


def test_a_series_in_two_folders_is_no_half_scan(tmp_path):
    """Some archives split an export by number of files: either half would pass as a scan of its own."""
    whole = tmp_path / "all"
    write_series(whole, body((8, 8, 8)), uid="7")
    for number, file in enumerate(sorted(whole.iterdir())):
        part = tmp_path / "ct" / "AB"[number // 4]
        part.mkdir(parents=True, exist_ok=True)
        file.rename(part / file.name)
    whole.rmdir()
    for place, name in (("other", "{}"), ("renamed", "z{}")):  # the same slices under other names are a copy
        write_series(tmp_path / "ct" / place, body((8, 8, 4)), uid="8", name=name)
    cases, problems = find_cases(tmp_path, ["ct"])
    assert [case["image"] for case in cases] == ["ct/other"]
    assert (
        problems.pop()
        == f"{tmp_path}/ct/renamed: has the same id as {tmp_path}/ct/other: skipped, remove or rename one"
    )
    assert problems == [f"{tmp_path}/ct/B: another part of the series in {tmp_path}/ct/A: both skipped, use one folder"]


def hospital(root):
    """Write the CT and the MR series of three patients: a folder for each, and all in one."""
    for number, patient in enumerate(PATIENTS):
        common = {"spacing": (2, 2), "step": (0, 0, 2), "patient": patient}
        write_series(root / f"ct/{number}", body(seed=number), uid=f"1{number}", **common)
        mixed = {"uid": f"2{number}", "name": f"{number}_{{}}", "intercept": 0, "modality": "mri", **common}
        write_series(root / "mri/all", body(modality="mri", seed=number), **mixed)
    return root


def test_folders_become_cases_with_hashed_ids_and_patients(tmp_path):
    cases, problems = find_cases(hospital(tmp_path), ["ct", "mri"])
    assert problems == []
    assert [case["image"] for case in cases[3:5]] == ["ct/3", "mri/all/0_1"]
    assert len({case["case"] for case in cases}) == 8
    assert all(case["case"].startswith(f"{case['modality']}/series-") for case in cases)
    groups = [case["group"] for case in cases]
    assert groups[:4] == groups[4:]
    assert groups[0] == groups[3]
    assert len(set(groups)) == 3


def test_a_series_twice_or_of_another_modality_is_named_and_skipped(tmp_path):
    for place, modality in (("ct/a", "ct"), ("ct/copy", "ct"), ("ct/b", "pet"), ("t1/c", "mri")):
        write_series(tmp_path / place, body((8, 8, 4)), uid=modality, modality=modality)
    write_series(tmp_path, body((8, 8, 4)), uid="9")
    cases, problems = find_cases(tmp_path, ["ct", "t1"])
    assert [case["image"] for case in cases] == ["ct/a", "t1/c"]
    assert [line.removeprefix(str(tmp_path)) for line in problems] == [
        "/ct/b: a DICOM series of 'pet' in the folder of 'ct': skipped, move it",
        f"/ct/copy: has the same id as {tmp_path}/ct/a: skipped, remove or rename one",
        ": not in the folder of a modality: skipped, move it to one of ['ct', 't1']",
    ]


def test_groups_may_name_a_series_by_its_folder(tmp_path):
    hospital(tmp_path)
    (tmp_path / "groups.csv").write_text("case,group\nct/0,one\nct/nobody,two\n")
    cases, problems = find_cases(tmp_path, ["ct", "mri"], tmp_path / "groups.csv")
    assert cases[0]["group"] == "one"
    assert problems == [f"groups: no scan 'ct/nobody' in {tmp_path}: correct {tmp_path / 'groups.csv'}"]


def test_prepare_writes_no_id_of_a_header_and_names_a_series_with_a_gap(tmp_path):
    hospital(tmp_path / "data")
    (tmp_path / "data/ct/1/010.dcm").unlink()
    index = prepare_cubes(str(tmp_path / "data"), str(tmp_path / "store"), recipe=SMALL, num_workers=0)
    (problem,) = index["problems"]
    assert problem.startswith(f"{tmp_path}/data/ct/1: slices missing or unevenly spaced (4 mm after 011.dcm, 2 mm else")
    assert sum(map(len, index["splits"].values())) == 7
    written = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert not any(name in written for name in (b"ANNA", b"BERTA", b"CLARA", ROOT.encode()))


def test_labeled_series_in_folders_and_tables(tmp_path):
    for patient in ("A", "B", "C"):
        write_series(tmp_path / f"imagesTr/{patient}", body(seed=ord(patient)), uid=patient, patient=patient)
        affine = read_grid(tmp_path / f"imagesTr/{patient}")[1]
        mask = nibabel.Nifti1Image((body() > 0).astype(np.uint8), affine)
        (tmp_path / "labelsTr").mkdir(exist_ok=True)
        nibabel.save(mask, tmp_path / f"labelsTr/{patient}.nii.gz")
    made = folder(str(tmp_path), str(tmp_path / "list.json"), modality="ct", num_workers=0)
    assert len(made["training"] + made["validation"] + made["test"]) == 3
    assert all(case["group"].startswith("patient-") for case in made["training"])
    case = read_cases(tmp_path / "list.json", tmp_path, "training")[0]
    assert "corners" not in json.dumps(made["problems"])
    read = ReadScand("image")({"image": case["image"]})["image"]
    assert read.shape == (1, 32, 32, 32)
    rows = [f"imagesTr/{name},{label}" for name, label in (("A", 0), ("B", 1), ("C", 0))]
    (tmp_path / "table.csv").write_text("\n".join(["image,label", *rows, "labelsTr,1"]))
    made = folder(str(tmp_path), str(tmp_path / "classes.json"), table=str(tmp_path / "table.csv"), modality="ct")
    assert len(made["training"] + made["validation"] + made["test"]) == 3
    assert "line 5" in made["problems"][0]
    assert "no DICOM series in this folder" in made["problems"][0]


def test_a_label_off_the_grid_of_its_series_is_refused(tmp_path):
    write_series(tmp_path / "image", body((8, 8, 4)))
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 4), np.uint8), np.eye(4)), tmp_path / "label.nii")
    (tmp_path / "list.json").write_text(json.dumps({"training": [{"image": "image", "label": "label.nii"}]}))
    with pytest.raises(ValueError, match=r"label.nii: its corners lie up to 14 mm from those of .*image"):
        read_cases(tmp_path / "list.json", tmp_path, "training")


def test_a_folder_that_is_no_series_is_named_by_whatever_reads_it(tmp_path):
    (tmp_path / "empty").mkdir()
    file = str(tmp_path / "empty")
    (found,) = inspect_files([{"file": file, "kind": "image"}], tmp_path / "cache", num_workers=0).values()
    assert found["problem"].startswith(f"{file}: no DICOM series in this folder")
    with pytest.raises(ValueError, match="no DICOM series in this folder"):
        ScanCache(str(tmp_path / "scans")).prepare([{"image": file, "case": "a"}])


def test_inference_lists_series_and_finds_candidates_by_uid(tmp_path):
    hospital(tmp_path)
    assert len(list_scans(tmp_path, modalities=["ct", "mri"])) == 8
    (alone,) = list_scans(tmp_path / "ct/2")
    assert alone == {"image": str(tmp_path / "ct/2"), "case": "2"}
    (tmp_path / "candidates.csv").write_text(f"seriesuid,coordX,coordY,coordZ\n{ROOT}12,1,2,3\n")
    (found,) = list_candidates(str(tmp_path / "ct"), str(tmp_path / "candidates.csv"))
    assert (found["image"], found["case"]) == (str(tmp_path / "ct/2"), f"{ROOT}12")
