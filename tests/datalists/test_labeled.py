# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from universal_model_components.datalists.labeled import find_pairs, find_rows, read_modality

BOTH = ("ct", "mri")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_images_and_labels_are_paired_by_name(tmp_path):
    root = touch(tmp_path, *(f"imagesTr/{name}.nii.gz" for name in ("a", "b_0000", "lone")), "labelsTr/a.nii.gz")
    touch(root, "labelsTr/b.nii.gz", "labelsTr/other.nii.gz", "imagesTr/c.tif")
    cases, problems = find_pairs(root, "Tr", "ct", None)
    assert [(case["image"], case["label"], case["id"]) for case in cases] == [
        ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "a"),
        ("imagesTr/b_0000.nii.gz", "labelsTr/b.nii.gz", "b"),
    ]
    assert ["c.tif" in problems[0], "lone" in problems[1], "other" in problems[2], len(problems)] == [True] * 3 + [3]


def test_of_several_channels_one_is_chosen(tmp_path):
    root = touch(tmp_path, "imagesTr/a_0000.nii", "imagesTr/a_0001.nii", "labelsTr/a.nii")
    with pytest.raises(ValueError, match="channel: a has 0000, 0001: choose one"):
        find_pairs(root, "Tr", "mri", None)
    ((case,), problems) = find_pairs(root, "Tr", "mri", 1)
    assert (case["image"], problems) == ("imagesTr/a_0001.nii", [])
    assert "no such channel" in find_pairs(root, "Tr", "mri", 2)[1][0]


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"modality": {"0": "CT"}}, "ct"),
        ({"channel_names": {"0": "FLAIR"}}, "mri"),
        ({"modality": {"0": "ultrasound"}}, None),
        (None, None),
    ],
)
def test_the_modality_is_given_or_read_from_dataset_json(tmp_path, about, expected):
    if about is not None:
        (tmp_path / "dataset.json").write_text(json.dumps(about))
    assert read_modality(tmp_path, "mri", BOTH) == "mri"
    with pytest.raises(ValueError, match=r"modality: 'pet' is not one of \['ct', 'mri'\]"):
        read_modality(tmp_path, "pet", BOTH)
    if expected:
        assert read_modality(tmp_path, None, BOTH) == expected
    else:
        with pytest.raises(ValueError, match="give --modality ct or mri"):
            read_modality(tmp_path, None, BOTH)


def test_rows_of_a_table_become_cases_and_bad_ones_lines(tmp_path):
    touch(tmp_path, "a.nii", "b.nii")
    rows = ["image,label,patient,modality", "a.nii,0,p1,ct", "b.nii,1,p2,ct", "gone.nii,1,p3,ct", "a.nii,1,p1,ct"]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    columns = dict.fromkeys(("image", "label", "group"))
    cases, problems = find_rows(tmp_path, tmp_path / "table.csv", columns, None, BOTH)
    assert [(case["image"], case["label"], case["group"], case["stratum"]) for case in cases] == [
        ("a.nii", 0, "p1", "class 0"),
        ("b.nii", 1, "p2", "class 1"),
    ]
    assert ["line 4: no image 'gone.nii'" in problems[0], "line 5: a.nii occurs twice" in problems[1]] == [True, True]
