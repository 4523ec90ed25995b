# SPDX-License-Identifier: Apache-2.0
"""Folders of scans: which files are scans, and whom they show."""

from __future__ import annotations

import pytest

from universal_model_components.experiments.folders import find_scans, people_of, person_of, unpacked


@pytest.mark.parametrize(("pattern", "person"), [[None, "case_07_t1"], [r"\d+", "07"], [r"(case_\d+)_", "case_07"]])
def test_a_person_is_what_the_pattern_finds(pattern, person):
    assert person_of("a/b/case_07_t1.nii.gz", pattern) == person


def test_a_pattern_that_finds_nobody_is_an_error():
    with pytest.raises(ValueError, match=r"group: 'x' finds nothing in case\.nii"):
        person_of("case.nii", "x")


def test_hidden_and_other_files_and_those_to_exclude_are_no_scans(tmp_path):
    names = ("a_1.nii", "a_2.nii.gz", "b_1.nii.gz", "._a_1.nii", ".b_2.nii.gz", "c.nii.gz.part", "d.txt")
    for name in names:
        (tmp_path / name).touch()
    source = {"images": ".", "modality": "ct", "group": "([a-z])_", "exclude": ["b_1.nii.gz"]}
    found = find_scans("tasks: x", source, people_of("x", source), tmp_path)
    assert [(scan["image"], scan["group"]) for scan in found] == [("./a_1.nii", "x/a"), ("./a_2.nii.gz", "x/a")]
    assert unpacked("b_1.nii.gz") == "b_1"
    for wrong in ("b_3", "b", "._a_1"):
        with pytest.raises(ValueError, match=f"tasks: x: exclude: no '{wrong}' in "):
            find_scans("tasks: x", {**source, "exclude": [wrong]}, "x", tmp_path)
    with pytest.raises(ValueError, match="tasks: x: no NIfTI file in "):
        find_scans("tasks: x", {**source, "exclude": ["a_1", "a_2", "b_1"]}, "x", tmp_path)
