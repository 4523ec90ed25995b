# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os

import pytest

from universal_model_components.datalists.folder import find_cases, folder_datalist, read_groups
from universal_model_components.datalists.reader import read_datalist
from universal_model_components.datalists.splits import validation_groups

BOTH = ["ct", "mri"]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def split_of(datalist):
    return {case["case"]: split for split in ("training", "validation") for case in datalist[split]}


def test_scans_are_found_in_every_format_and_depth(tmp_path):
    touch(tmp_path, "ct/a.nii", "ct/deep/er/b.NII.GZ", "ct/c.mhd", "ct/c.raw", "ct/d.mha", "ct/e.nrrd", "ct/._f.nii")
    touch(tmp_path, "ct/.cache/g.nii", "ct/notes.txt", "mri/a.nii", "mri/b.nii", "docs/readme.txt")
    datalist, problems = folder_datalist(tmp_path, BOTH)
    assert problems == []
    assert sorted(split_of(datalist)) == [
        *("ct/a.nii", "ct/c.mhd", "ct/d.mha", "ct/deep/er/b.NII.GZ", "ct/e.nrrd", "mri/a.nii", "mri/b.nii")
    ]
    assert set(datalist) == {"name", "version", "seed", "training", "validation"}
    entry = next(case for case in datalist["training"] + datalist["validation"] if case["case"] == "ct/c.mhd")
    assert entry == {"image": "ct/c.mhd", "modality": "ct", "case": "ct/c.mhd", "group": "ct/c"}


def test_a_name_that_is_no_text_is_skipped_and_the_others_stay(tmp_path):
    touch(tmp_path, "ct/a.nii")
    (tmp_path / "ct" / os.fsdecode(b"M\xfcller.nii")).touch()
    cases, problems = find_cases(tmp_path, ["ct"])
    assert [case["image"] for case in cases] == ["ct/a.nii"]
    assert problems == [r"'ct/M\udcfcller.nii': its name is not UTF-8: skipped, rename it"]


def test_split_is_stable_and_has_both_parts_of_each_modality(tmp_path):
    touch(tmp_path, *(f"{modality}/{n}.nii" for modality in BOTH for n in range(20)))
    first = split_of(folder_datalist(tmp_path, BOTH, seed=1)[0])
    assert first == split_of(folder_datalist(tmp_path, BOTH[::-1], seed=1)[0])
    assert first != split_of(folder_datalist(tmp_path, BOTH, seed=2)[0])
    for modality in BOTH:
        assert sum(s == "validation" for case, s in first.items() if case.startswith(modality)) == 4
    touch(tmp_path, "ct/new.nii")
    more = split_of(folder_datalist(tmp_path, BOTH, seed=1)[0])
    assert sum(more[case] != split for case, split in first.items()) <= 1


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (3, 1), (10, 2), (30, 6)])
def test_share_of_groups_that_validate(count, expected):
    assert len(validation_groups({str(n): {"ct"} for n in range(count)}, 0.2, 0)) == expected
    assert validation_groups({str(n): {"ct"} for n in range(count)}, 0, 0) == set()


@pytest.mark.parametrize("seed", range(8))
def test_patients_with_two_modalities_stay_together_and_both_modalities_validate(tmp_path, seed):
    touch(tmp_path, *(f"ct/{n}.nii" for n in range(4)), *(f"mri/{n}.nii" for n in range(3)))
    rows = [f"{modality}/{n}.nii,patient {n}" for modality in BOTH for n in range(3)]
    (tmp_path / "groups.csv").write_text("\n".join(["case,group", *rows]))
    split = split_of(folder_datalist(tmp_path, BOTH, seed, groups=tmp_path / "groups.csv")[0])
    assert all(split[f"ct/{n}.nii"] == split[f"mri/{n}.nii"] for n in range(3))
    for modality in BOTH:
        assert {s for case, s in split.items() if case.startswith(modality)} == {"training", "validation"}


def test_groups_name_scans_with_or_without_suffix(tmp_path):
    touch(tmp_path, "ct/a.nii.gz", "ct/b.nii.gz")
    (tmp_path / "groups.csv").write_text("\ufeffimage,group,age\nct/a,p1,50\nct/b.nii.gz,p1,50\nct/gone.nii,p2,1\n")
    datalist, problems = folder_datalist(tmp_path, ["ct"], groups=tmp_path / "groups.csv")
    assert {case["group"] for case in datalist["training"]} == {"p1"}
    assert len(problems) == 1
    assert "no scan 'ct/gone'" in problems[0]


@pytest.mark.parametrize("content", ["", "case,patient\nct/a,p\n", "name,group\nct/a,p\n"])
def test_groups_without_their_columns_are_refused(tmp_path, content):
    (tmp_path / "groups.csv").write_text(content)
    with pytest.raises(
        ValueError, match=r"groups: .*groups.csv has no column (case or image|group) \(found .*\): add it"
    ):
        read_groups(tmp_path / "groups.csv")


def test_missing_groups_folder_and_fraction_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"groups: cannot read"):
        folder_datalist(tmp_path, ["ct"], groups=tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"dataset_dir: .* is not a folder"):
        folder_datalist(tmp_path / "none", ["ct"])
    for fraction in (1, "some", None, [0.2]):
        with pytest.raises(ValueError, match=r"validation_fraction: .* is not from 0 to below 1"):
            folder_datalist(tmp_path, ["ct"], validation_fraction=fraction)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["ct/a.nii", "ct/a.nii.gz"], "ct/a.nii.gz: has the same id as .*ct/a.nii: skipped, remove or rename one"),
        (["ct/a.nii", "pet/b.nii"], "pet: unknown modality 'pet': skipped, add it to modalities"),
        (["ct/a.nii", "b.nii"], "b.nii: not in the folder of a modality: skipped"),
        (["ct/a.hdr", "ct/a.img", "ct/b.mnc"], "ct/b.mnc: not a format that is read .1 such files.: convert to .nii"),
        (["ct/readme.txt"], "ct: no scan in it"),
        ([], "ct: no scan in it"),
    ],
)
def test_what_is_wrong_in_a_folder_is_named_in_one_line(tmp_path, files, message):
    _, problems = folder_datalist(touch(tmp_path, *files), ["ct"])
    assert len(problems) == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(problems[0])
    assert "\n" not in problems[0]


def given(tmp_path, **content):
    (tmp_path / "list.json").write_text(json.dumps(content))
    return tmp_path / "list.json"


A, B = {"image": "ct/a.nii", "modality": "ct"}, {"image": "x/b.nii", "modality": "mri", "group": "p"}
MANY = [{"image": f"ct/{n}.nii", "modality": "ct"} for n in range(7)]


def test_given_datalist_is_completed(tmp_path):
    datalist, problems = read_datalist(given(tmp_path, training=[A, B], validation=[], test=[A]), BOTH)
    assert problems == []
    assert datalist["training"] == [
        {**A, "case": "ct/a.nii", "group": "ct/a"},
        {**B, "case": "mri/x/b.nii", "group": "p"},
    ]


@pytest.mark.parametrize("content", [{"training": [A]}, {"training": [A], "validation": None}])
def test_a_missing_validation_is_left_out(tmp_path, content):
    assert "validation" not in read_datalist(given(tmp_path, **content), BOTH)[0]


def test_links_in_a_circle_lead_to_each_scan_once(tmp_path):
    touch(tmp_path, "ct/a.nii", "ct/deep/b.nii")
    (tmp_path / "ct/deep/up").symlink_to(tmp_path / "ct", target_is_directory=True)
    (tmp_path / "ct/again").symlink_to("deep", target_is_directory=True)
    datalist, problems = folder_datalist(tmp_path, ["ct"])
    assert len(split_of(datalist)) == 2
    assert problems == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"modality": "ct"}, r"training\[1\] has no 'image' .*: skipped$"),
        ({"image": "ct/b.nii"}, r"training\[1\] has no 'modality' .*: skipped$"),
        ({"image": "b.nii", "modality": "pet"}, r"training\[1\]: unknown modality 'pet'"),
        ({"image": "ct/a.nii.gz", "modality": "ct"}, r"training\[1\]: id 'ct/a.nii.gz' occurs twice"),
        ("ct/b.nii", r"training\[1\] is 'ct/b.nii', expected a mapping .*: skipped$"),
    ],
)
def test_bad_entries_are_skipped_and_named(tmp_path, entry, message):
    datalist, problems = read_datalist(given(tmp_path, training=[A, entry], validation=[]), BOTH)
    assert [case["case"] for case in datalist["training"]] == ["ct/a.nii"]
    with pytest.raises(ValueError, match=message):
        raise ValueError(*problems)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": [A], "validation": [A]}, "case 'ct/a.nii' in training and validation"),
        ({"training": [B], "validation": [{**A, "group": "p"}]}, "group 'p' in training and validation"),
        (
            {"training": MANY, "validation": MANY},
            "has 7 cases .'ct/0.nii', 'ct/1.nii', 'ct/2.nii', 'ct/3.nii', 'ct/4.nii', …. in training and validation",
        ),
        (
            {"training": [A, B], "validation": [{**MANY[1], "group": "p"}, {**MANY[2], "group": "ct/a"}]},
            "has 2 groups .'ct/a', 'p'. in training and validation",
        ),
        ({"validation": [A]}, "has no list 'training'"),
        ({"training": [A], "validation": "none"}, "'validation' is not a list"),
    ],
)
def test_leaks_and_missing_lists_stop(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_datalist(given(tmp_path, **content), BOTH)


def test_unreadable_datalist_is_named(tmp_path):
    (tmp_path / "list.json").write_text("{")
    for file in (tmp_path / "list.json", tmp_path / "none.json"):
        with pytest.raises(ValueError, match="datalist: cannot read"):
            read_datalist(file, BOTH)


def test_cases_of_a_folder_have_groups_and_what_is_wrong_has_a_line(tmp_path):
    touch(tmp_path, "ct/a.nii", "ct/b.nii.gz", "ct/b.nrrd", "pet/c.nii")
    (tmp_path / "groups.csv").write_text("case,group\nct/a,p1\nct/z,p9\n")
    cases, problems = find_cases(tmp_path, ["ct", "mri"], tmp_path / "groups.csv")
    assert [(case["image"], case["group"]) for case in cases] == [("ct/a.nii", "p1"), ("ct/b.nii.gz", "ct/b")]
    for message in ("mri: no scan in it", "b.nrrd: has the same id", "no scan 'ct/z'", "unknown modality 'pet'"):
        assert sum(message in problem for problem in problems) == 1
    assert len(problems) == 4
