# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a datalist is found at once, each in a line that names it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from luna import write_datalist, write_luna16
from task_bundles import write_segmentation_data

from universal_model_components.tasks.checks import check_cases, check_datalist
from universal_model_components.tasks.classification_checks import check_candidates
from universal_model_components.tasks.findings import ERROR, FINE, WARNING

BTS = "brats_mri_whole_tumor_segmentation"


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> Path:
    return write_segmentation_data(tmp_path_factory.mktemp("bts"), BTS)


@pytest.fixture(scope="module")
def nodules(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("luna16")
    entries = write_luna16(folder)
    write_datalist(folder, entries[:2], entries[2:3], entries[3:])
    return folder


def changed(folder: Path, change: Callable[[dict], object]) -> Path:
    content = json.loads((folder / "datalist.json").read_text())
    change(content)
    file = folder / "changed.json"
    file.write_text(json.dumps(content))
    return file


def lines(findings, level: str) -> list[str]:
    return [finding.message for finding in findings if finding.level == level]


def test_a_good_datalist_is_fine(masks, nodules):
    for voxels in (False, True):
        findings = check_datalist(masks / "datalist.json", masks, voxels=voxels)
        assert [finding.level for finding in findings] == [FINE] * (6 if voxels else 3), findings
    assert [finding.message for finding in findings[:2]] == [
        "datalist: 3 'training' cases, headers read",
        "training: voxels of 3 cases read",
    ]
    findings = check_datalist(nodules / "datalist.json", nodules, segmentation=False, voxels=True)
    assert lines(findings, ERROR) == []


def _several(content: dict) -> None:
    content["training"][0]["image"] = "images/gone.nii.gz"
    del content["training"][1]["label"]
    content["training"].append(dict(content["training"][2]))
    content["validation"] = []
    content["test"][0]["label"] = content["training"][2]["label"]


def test_all_problems_are_named_at_once(masks):
    findings = check_datalist(changed(masks, _several), masks)
    errors = lines(findings, ERROR)
    assert len(errors) == 4
    assert "training[0]: no file" in errors[0]
    assert "gone.nii.gz" in errors[0]
    assert "training[1] has no 'label'" in errors[1]
    assert "training[3]: case 'case_2' occurs twice in 'training'" in errors[2]
    assert "has no 'validation' cases" in errors[3]
    (warning,) = lines(findings, WARNING)  # training does not read the test cases
    assert "case_2.nii.gz" in warning
    with pytest.raises(
        ValueError, match=r"^datalist: .*gone.nii.gz.* \(and 3 more, in the log; .doctor. lists them too\)$"
    ):
        check_cases(changed(masks, _several), masks)
    check_cases(masks / "datalist.json", masks)
    check_cases(masks / "none.json", masks)  # whoever reads it says so


def test_a_patient_in_two_lists_is_a_warning(masks):
    findings = check_datalist(changed(masks, lambda c: c["validation"][0].update(group="case_0")), masks)
    (warning,) = lines(findings, WARNING)
    assert "1 patients are in 'training' and in 'validation', first 'case_0'" in warning


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["training"].__setitem__(0, "case_0"), "is 'case_0', expected a mapping"),
        (lambda c: c["training"][0].update(label=1), "label is 1, expected the path of a mask"),
        (lambda c: c.update(training={}), "'training' is not a list"),
    ],
)
def test_entries_of_another_form(masks, change, message):
    with pytest.raises(ValueError, match=message):
        check_cases(changed(masks, change), masks)


@pytest.fixture
def copied(masks, tmp_path) -> Path:
    shutil.copytree(masks, tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nibabel.load(file)
    voxels = np.array(image.dataobj)
    nibabel.save(nibabel.Nifti1Image(change(voxels), image.affine), file)


def _stray(mask: np.ndarray) -> np.ndarray:
    mask.flat[5] = 3
    return mask


def test_voxels_are_looked_at_when_asked(copied):
    rewrite(copied / "labels/case_0.nii.gz", lambda mask: mask * 0)
    rewrite(copied / "labels/case_3.nii.gz", lambda mask: mask * 0)  # the only one to validate on
    rewrite(copied / "labels/case_1.nii.gz", _stray)
    rewrite(copied / "images/case_2.nii.gz", lambda image: np.where(image == image.max(), np.nan, image).astype("f4"))
    (copied / "images/case_5.nii.gz").write_bytes((copied / "images/case_5.nii.gz").read_bytes()[:900])
    assert lines(check_datalist(copied / "datalist.json", copied), ERROR) == []  # headers are good
    values = {"foreground": [4]}
    findings = check_datalist(copied / "datalist.json", copied, label_values=values, voxels=True)
    errors, warnings = lines(findings, ERROR), lines(findings, WARNING)
    assert [next(part for part in ("case_1", "case_2", "validation") if part in line) for line in errors] == [
        "case_1",
        "case_2",
        "validation",
    ]
    assert "label value 3 in 1 voxels, expected [0, 4]" in errors[0]
    assert "NaN or infinite" in errors[1]
    assert "1 of 1 masks are empty" in errors[2]
    assert any("training: 1 of 2 masks are empty" in line for line in warnings)
    assert any("case_5.nii.gz" in line for line in warnings)


def test_scans_whose_percentiles_are_equal_are_found(copied):
    rewrite(
        copied / "images/case_1.nii.gz",
        lambda image: np.where(np.arange(image.size).reshape(image.shape) == 7, image.max(), 0).astype("f4"),
    )
    settings = {"label_values": {"foreground": [4]}, "voxels": True}
    assert lines(check_datalist(copied / "datalist.json", copied, intensity_scale="volume", **settings), ERROR) == []
    (line,) = lines(check_datalist(copied / "datalist.json", copied, intensity_scale="percentiles", **settings), ERROR)
    assert "case_1.nii.gz: the percentiles 0.5 and 99.5 are both 0: crop its background" in line


def _wrong_candidates(content: dict) -> None:
    content["training"][0]["candidates"][0][2] += 500.0
    for one in content["validation"][0]["candidates"]:
        one[3] = 0


def test_candidates_and_classes(nodules):
    errors = lines(check_datalist(changed(nodules, _wrong_candidates), nodules, segmentation=False), ERROR)
    assert len(errors) == 2
    assert "candidates: 1 of 5 lie outside" in errors[0]
    assert "zero positives (class 1) among the 5 samples of 'validation'" in errors[1]


def test_a_list_of_candidates(nodules, tmp_path):
    rows = (nodules / "candidates.csv").read_text().splitlines()
    for text, level, message in (
        ("\n".join(rows), FINE, "candidates of 4 series"),
        ("\n".join(row.replace("coordZ", "z") for row in rows), ERROR, "lacks the column 'coordZ'"),
        ("\n".join([*rows, "9.9.9,1,2,3,0"]), WARNING, "1 of 5 series have no scan below .*, first 9.9.9"),
        ("\n".join([rows[0], rows[1].split(",")[0] + ",1e4,2,3,0"]), ERROR, "lie outside"),
    ):
        (tmp_path / "list.csv").write_text(text + "\n")
        findings = list(check_candidates(tmp_path / "list.csv", nodules))
        assert any(finding.level == level and _found(message, finding.message) for finding in findings), findings


def test_a_classifier_may_go_without_validation(nodules):
    findings = check_datalist(changed(nodules, lambda c: c.pop("validation")), nodules, segmentation=False)
    assert lines(findings, ERROR) == []
    assert "has no 'validation' cases: add some, or the last epoch's model is kept" in lines(findings, WARNING)[0]


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None
