# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from public_sets import reoriented
from scan_files import body, make_dataset, write_scan

from universal_model_components.datalists.folder import folder_datalist
from universal_model_components.datalists.own_scans import folder

SHAPE = (16, 14, 12)
SPLITS = ("training", "validation", "test")


def make(root, **options):
    file = root.parent / "list.json"
    folder(str(root), str(file), num_workers=0, **options)
    return json.loads(file.read_text())


def cases(datalist):
    return {case["case"]: case for split in SPLITS for case in datalist[split]}


def write_pairs(root, names, part="Tr", suffix=""):
    for number, name in enumerate(names):
        write_scan(root / f"images{part}" / f"{name}{suffix}.nii.gz", body(SHAPE, seed=number + 100 * (part == "Ts")))
        mask = np.zeros(SHAPE, np.uint8)
        mask[4:8, 4:8, 4:8] = 1
        write_scan(root / f"labels{part}" / f"{name}.nii.gz", mask)
    return root


def test_sub_folders_give_the_split_that_prepare_draws(tmp_path):
    root = make_dataset(tmp_path / "scans", 6, 6)
    datalist, expected = make(root), folder_datalist(root, ["ct", "mri"])[0]
    for split in ("training", "validation"):
        keys = ("image", "modality", "case", "group")
        assert [{key: case[key] for key in keys} for case in datalist[split]] == expected[split]
    assert datalist["test"] == []
    assert datalist["stage"] == "pretraining"
    assert {len(case["sha256"]) for case in datalist["training"]} == {64}
    assert len(make(root, test_fraction=0.3, name="mine")["test"]) == 4


def test_broken_scans_of_a_folder_are_listed_and_left_out_or_refused(tmp_path):
    root = make_dataset(tmp_path / "scans", 3, 2)
    (root / "ct" / "broken.nii").write_text("no image")
    write_scan(root / "ct" / "flat.nii", np.zeros(SHAPE, np.int16))
    datalist = make(root)
    assert [line.split(": ", 1)[1][:15] for line in datalist["problems"]] == ["unreadable or t", "constant volume"]
    assert len(cases(datalist)) == 5
    with pytest.raises(ValueError, match="datalist folder: 2 differences, listed above; nothing was written"):
        make(root, allow_partial="false")


@pytest.mark.parametrize("suffix", ["", "_0000"])
def test_decathlon_and_nnunet_folders(tmp_path, suffix):
    root = write_pairs(tmp_path / "data", [f"liver_{n:03d}" for n in range(10)], suffix=suffix)
    datalist = make(root, modality="ct")
    assert [len(datalist[split]) for split in SPLITS] == [6, 2, 2]
    entry = datalist["training"][0]
    name = entry["label"].removeprefix("labelsTr/").removesuffix(".nii.gz")
    assert entry["image"] == f"imagesTr/{name}{suffix}.nii.gz"
    assert "stratum" not in entry
    assert "label values found: [0, 1]" in datalist["notes"]


def test_labeled_test_folders_are_the_test(tmp_path):
    root = write_pairs(write_pairs(tmp_path / "data", ["a", "b", "c"]), ["d", "e"], part="Ts")
    (root / "dataset.json").write_text(json.dumps({"modality": {"0": "MRI"}}))
    datalist = make(root)
    assert {case["case"] for case in datalist["test"]} == {"imagesTs/d.nii.gz", "imagesTs/e.nii.gz"}
    assert {case["modality"] for case in cases(datalist).values()} == {"mri"}


def test_labeled_test_folders_leave_nothing_to_draw(tmp_path):
    root = write_pairs(write_pairs(tmp_path / "data", ["a", "b", "c"]), ["d"], part="Ts")
    for option in ({"test_fraction": 0.5}, {"test_ids": tmp_path / "ids.txt"}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: .* has its test in imagesTs and labelsTs"):
            make(root, modality="ct", **option)


@pytest.mark.parametrize("name", ["la_{}", "imagesTr/la_{}", "imagesTr/la_{}.nii.gz"])
def test_patients_of_labeled_scans_go_by_name_or_path(tmp_path, name):
    root = write_pairs(tmp_path / "data", [f"la_{n}" for n in range(8)])
    rows = [f"{name.format(n)},p{n // 2}" for n in range(7)] + ["la_9,p9"]
    (tmp_path / "groups.csv").write_text("\n".join(["case,group", *rows]))
    datalist = make(root, modality="mri", groups=tmp_path / "groups.csv")
    held = {case["group"]: split for split in SPLITS for case in datalist[split]}
    assert set(held) == {"p0", "p1", "p2", "p3", "imagesTr/la_7"}
    for case in (case for split in SPLITS for case in datalist[split] if case["group"] in held):
        assert case in datalist[held[case["group"]]]
    assert [line.split(":")[:2] for line in datalist["problems"]] == [["groups", " no scan, or several, named 'la_9'"]]
    assert any(note.startswith("1 scans are not in ") for note in datalist["notes"])


def test_a_name_that_two_folders_have_names_no_patient(tmp_path):
    root = write_pairs(write_pairs(tmp_path / "data", ["a", "b", "c"]), ["a"], part="Ts")
    (tmp_path / "groups.csv").write_text("case,group\na,p1\nb,p2\n")
    datalist = make(root, modality="mri", groups=tmp_path / "groups.csv")
    assert "no scan, or several, named 'a'" in datalist["problems"][0]
    assert {case["group"] for case in datalist["test"]} == {"imagesTs/a"}
    (tmp_path / "groups.csv").write_text("case,group\nimagesTs/a,p1\nb,p1\n")
    datalist = make(root, modality="mri", groups=tmp_path / "groups.csv")
    assert {case["case"] for case in datalist["test"]} == {"imagesTs/a.nii.gz", "imagesTr/b.nii.gz"}
    assert "1 scans of imagesTr are of patients of imagesTs: they test too" in datalist["notes"]
    (tmp_path / "groups.csv").write_text("case,group\na,p1\na.nii.gz,p2\n")
    with pytest.raises(ValueError, match=r"groups: .* a is of 'p1' and of 'p2': keep one row"):
        make(root, modality="mri", groups=tmp_path / "groups.csv")


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_of_a_held_out_scan_is_not_trained_on(tmp_path, seed):
    root = write_pairs(tmp_path / "data", [f"s{n}" for n in range(5)])
    for n in range(5):  # every scan a second time: turned, and as floats
        reoriented(root / "imagesTr" / f"s{n}.nii.gz", root / "imagesTr" / f"again{n}.nii.gz", "PSR", np.float32)
        reoriented(root / "labelsTr" / f"s{n}.nii.gz", root / "labelsTr" / f"again{n}.nii.gz", "PSR")
    datalist = make(root, modality="ct", seed=seed)
    marks = [{case["fingerprint"]["voxels"] for case in datalist[split]} for split in SPLITS]
    assert not marks[0] & marks[1] | marks[0] & marks[2] | marks[1] & marks[2]
    assert len(set.union(*marks)) == 5  # no scan is lost
    assert len(cases(datalist)) + len(datalist["problems"]) == 10
    assert len(datalist["test"]) == 2  # what tests is never given up
    assert all("case with the voxels of imagesTr/" in line for line in datalist["problems"])


def test_partners_that_are_missing_and_channels(tmp_path):
    root = write_pairs(tmp_path / "data", ["a", "b", "c"])
    (root / "labelsTr" / "a.nii.gz").unlink()
    (root / "imagesTr" / "b.nii.gz").unlink()
    problems = make(root, modality="ct", test_fraction=0)["problems"]
    ends = ["no label a in labelsTr: skipped", "b.nii.gz: no image b in imagesTr: skipped"]
    assert [line.endswith(end) for line, end in zip(problems, ends, strict=True)] == [True, True]
    nnunet = write_pairs(tmp_path / "nnunet", ["a", "b"], suffix="_0000")
    for seed, name in enumerate("ab", start=8):
        write_scan(nnunet / "imagesTr" / f"{name}_0001.nii.gz", body(SHAPE, seed=seed))
    with pytest.raises(ValueError, match="channel: a has 0000, 0001: choose one"):
        make(nnunet, modality="mri")
    assert set(cases(make(nnunet, modality="mri", channel=1, test_fraction=0))) == {
        "imagesTr/a_0001.nii.gz",
        "imagesTr/b_0001.nii.gz",
    }
    with pytest.raises(ValueError, match=r"modality: not given by a dataset.json"):
        make(root)
    with pytest.raises(ValueError, match="modality: 'pet' is not one of"):
        make(root, modality="pet")


@pytest.mark.parametrize(
    ("channels", "expected"), [("CT", "ct"), ("T1w", "mri"), ("FLAIR", "mri"), ("noNorm", None), ("CT or MRI", None)]
)
def test_modality_of_a_dataset_json(tmp_path, channels, expected):
    root = write_pairs(tmp_path / "data", ["a", "b", "c"])
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": channels}}))
    if expected is None:
        with pytest.raises(ValueError, match="give --modality ct or mri"):
            make(root)
    else:
        assert {case["modality"] for case in cases(make(root)).values()} == {expected}


def test_table_of_classes_is_split_by_patient_and_class(tmp_path):
    rows = ["image,label,patient,note"]
    for n in range(20):
        write_scan(tmp_path / "data" / f"s{n}.nii", body(SHAPE, "mri", n))
        rows.append(f"s{n}.nii,{int(n >= 10)},p{n // 2},x")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(rows))
    datalist = make(tmp_path / "data", table="labels.csv", modality="mri")
    groups = {split: {case["group"] for case in datalist[split]} for split in SPLITS}
    assert [len(groups[split]) for split in SPLITS] == [6, 2, 2]
    assert not groups["training"] & groups["test"]
    for split in SPLITS:
        labels = [case["label"] for case in datalist[split]]
        assert sum(labels) * 2 == len(labels)  # as many of each class
    assert {"what": "class 1 scans test", "found": 2, "expected": None} in datalist["counts"]


def test_table_of_masks_with_other_names(tmp_path):
    root = write_pairs(tmp_path / "data", ["a", "b", "c", "d", "e"])
    rows = [f"imagesTr/{name}.nii.gz,labelsTr/{name}.nii.gz,MR {name}" for name in "abcde"]
    (tmp_path / "t.csv").write_text("\n".join(["scan,mask,who", *rows]))
    columns = {"image_column": "scan", "label_column": "mask", "group_column": "who"}
    datalist = make(root, table=tmp_path / "t.csv", modality="mri", test_ids=None, **columns)
    assert cases(datalist)["imagesTr/a.nii.gz"]["group"] == "MR a"
    assert cases(datalist)["imagesTr/a.nii.gz"]["label"] == "labelsTr/a.nii.gz"
    assert [len(datalist[split]) for split in SPLITS] == [3, 1, 1]


def test_bad_rows_are_named_and_skipped(tmp_path):
    root = write_pairs(tmp_path / "data", ["a", "b"])
    image = "imagesTr/a.nii.gz"
    rows = [f"{image},1,ct", f"{image},1,ct", "gone.nii,0,ct", "imagesTr/b.nii.gz,AD,ct", "imagesTr/b.nii.gz,0,pet"]
    (root / "t.csv").write_text("\n".join(["image,label,modality", *rows, "../a.nii,0,ct"]))
    problems = make(root, table="t.csv", test_fraction=0, validation_fraction=0)["problems"]
    parts = ["line 3: imagesTr/a.nii.gz occurs twice", "line 4: no image 'gone.nii'", "line 5: label 'AD' is neither"]
    parts += ["line 6: modality 'pet' is not one of", "line 7: no image '../a.nii'"]
    assert [part in line for part, line in zip(parts, problems, strict=True)] == [True] * 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na.nii,1\n", r"table: .* has no column image \(found picture, label\)"),
        ("", r"table: .* has no column image \(found nothing\)"),
        ("image,label\nimagesTr/a.nii.gz,labelsTr/a.nii.gz\nimagesTr/b.nii.gz,1\n", "holds masks and classes"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    root = write_pairs(tmp_path / "data", ["a", "b"])
    (root / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        make(root, table="t.csv", modality="ct")


def test_real_sets_in_every_layout(real_data, tmp_path):
    def made(name, **options):
        folder(str(real_data / name), str(tmp_path / f"{name}.json"), num_workers=0, **options)
        return json.loads((tmp_path / f"{name}.json").read_text())

    assert [len(made("pretraining")[split]) for split in SPLITS] == [15, 4, 0]
    segmentation = made("hippocampus_mri", modality="mri")
    assert [len(segmentation[split]) for split in SPLITS] == [51, 13, 16]
    assert "label values found: [0, 1, 2]" in segmentation["notes"]
    classes = made("dementia_t1_mri", table="labels.csv", modality="mri")
    assert all({case["label"] for case in classes[split]} == {0, 1} for split in SPLITS)
    assert len(cases(made("nodule_ct", table="labels.csv", label_column="mask", modality="ct"))) == 67
