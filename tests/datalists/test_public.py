# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import sys
from collections import Counter

import itk
import numpy as np
import pytest
from monai.data import load_decathlon_datalist
from public_sets import (
    LEFT_ATRIUM,
    MARK,
    adni_file,
    write_adni,
    write_brats2018,
    write_lits2017,
    write_luna2016,
    write_mmwhs,
    write_msd_heart,
    write_table,
)
from scan_files import body, write_scan

from universal_model_components.__main__ import main
from universal_model_components.datalists.making import CACHE
from universal_model_components.datalists.public.adni import adni
from universal_model_components.datalists.public.brats2018 import brats2018
from universal_model_components.datalists.public.lits2017 import lits2017
from universal_model_components.datalists.public.luna2016 import FOLD_SIZES, luna2016
from universal_model_components.datalists.public.mmwhs import mmwhs
from universal_model_components.datalists.public.msd_heart import msd_heart
from universal_model_components.imaging.normalization import load_scan
from universal_model_components.imaging.reading import read_scan
from universal_model_components.tasks.candidates import cut_cubes_at, nearest_voxels
from universal_model_components.tasks.classification_data import ClassificationDataset, read_classes
from universal_model_components.tasks.scan_cache import ScanCache
from universal_model_components.tasks.segmentation_data import read_cases

TINY = (16, 14, 12)
SPLITS = ("training", "validation", "test")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The six sets; all but LUNA2016 and BraTS2018 with all their cases. Read only, but for the cache beside them."""
    root = tmp_path_factory.mktemp("sets")
    write_lits2017(root / "lits2017", shape=TINY)
    write_brats2018(root / "brats2018", hgg=6, lgg=3, shape=TINY)
    write_msd_heart(root / "msd_heart", shape=TINY)
    write_mmwhs(root / "mmwhs", shape=TINY)
    write_adni(root / "adni", shape=TINY)
    write_luna2016(root / "luna2016")
    return root


def make(command, sets, **options):
    """Run a command's function on a set, and read what it wrote; the cache stays beside it."""
    file = sets / f"{command.__name__}.json"
    command(str(sets / command.__name__), str(file), num_workers=0, **options)
    return json.loads(file.read_text())


def groups(datalist, split, stratum=None):
    return {case["group"] for case in datalist[split] if stratum in (None, case.get("stratum"))}


PAPER = [
    (lits2017, {}, "", (111, 19)),
    (lits2017, {"stage": "finetuning", "seed": 3}, "", (111, 19)),
    (lits2017, {"split": "fixed"}, "", (115, 15)),
    (msd_heart, {}, "", (30, 0)),
    (mmwhs, {}, "ct", (16, 4)),
    (mmwhs, {"modality": "mri"}, "mri", (16, 4)),
    (adni, {}, "AD", (37, 10)),
    (adni, {"seed": 1}, "NC", (45, 11)),
]


@pytest.mark.parametrize(("command", "options", "stratum", "expected"), PAPER)
def test_whole_sets_have_the_papers_numbers(sets, tmp_path, command, options, stratum, expected):
    datalist = make(command, sets, **options)
    assert datalist["differences"] == datalist["problems"] == []
    kept = {split: [c for c in datalist[split] if c.get("stratum", "") == stratum] for split in SPLITS}
    assert (len(kept["training"]) + len(kept["validation"]), len(kept["test"])) == expected
    assert len(kept["validation"]) == (15 if options.get("split") == "fixed" else round(0.2 * expected[0]))
    sides = [groups(datalist, split) for split in SPLITS]
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    root = sets / command.__name__
    assert datalist["root"] == str(root)
    for case in kept["training"]:
        assert (root / case["image"]).is_file()
        assert len(case["sha256"]) == 64
        assert case["case"].startswith(f"{command.__name__}/")
        assert not isinstance(case.get("label"), str) or (root / case["label"]).is_file()


def test_split_depends_on_seed_and_names_alone(sets, tmp_path):
    first = make(adni, sets)
    moved = tmp_path / "elsewhere" / "adni"
    shutil.copytree(sets / "adni", moved, copy_function=shutil.copy2)
    again = make(adni, moved.parent)
    assert {split: again[split] for split in SPLITS} == {split: first[split] for split in SPLITS}
    other = make(adni, sets, seed=1)
    assert groups(other, "test") != groups(first, "test")


def test_numbers_of_a_split_are_those_of_the_classes(sets, tmp_path):
    datalist = make(adni, sets)
    assert {case["label"] for case in datalist["training"] if case["stratum"] == "AD"} == {1}
    assert {case["label"] for case in datalist["test"] if case["stratum"] == "NC"} == {0}
    assert Counter(case["stratum"] for case in datalist["validation"]) == {"AD": 7, "NC": 9}
    assert any("2 subjects with diagnosis 'MCI': skipped" in note for note in datalist["notes"])


def test_brats_keeps_patients_together_over_contrasts_and_stages(sets, tmp_path):
    before = make(brats2018, sets, allow_partial="true")
    after = make(brats2018, sets, stage="finetuning", allow_partial=True)
    for split in SPLITS:
        assert groups(before, split) == groups(after, split)
        assert len(before[split]) == 4 * len(after[split])
    assert (len(groups(before, "test", "HGG")), len(groups(before, "test", "LGG"))) == (2, 1)  # a third, as the paper
    entry = after["training"][0]
    assert entry["image"].endswith("_flair.nii.gz")
    assert entry["label"].endswith("_seg.nii.gz")
    assert {case["contrast"] for case in before["training"]} == {"flair", "t1", "t1ce", "t2"}
    assert "label values found: [0, 1, 2, 4]" in after["notes"]
    assert "HGG patients train and validation: 4, 140 expected" in after["differences"]
    assert "volumes train and validation (Table I): 24, 760 expected" in before["differences"]


def test_test_patients_can_be_named(sets, tmp_path):
    names = ["Brats18_CBICA_001_1", "Brats18_TCIA10_002_1"]
    (tmp_path / "ids.txt").write_text("\n".join(names) + "\n\n")
    datalist = make(brats2018, sets, test_ids=tmp_path / "ids.txt", allow_partial=True)
    assert groups(datalist, "test") == {name[:-2] for name in names}
    (tmp_path / "ids.txt").write_text("Brats18_gone_1\n")
    with pytest.raises(ValueError, match=r"test_ids: .* 'Brats18_gone_1' is not a patient here"):
        make(brats2018, sets, test_ids=tmp_path / "ids.txt", allow_partial=True)


def test_missing_partners_move_nobody_else(tmp_path):
    brats, lits = tmp_path / "brats2018", tmp_path / "lits2017"
    write_brats2018(brats, 8, 4, shape=TINY)
    write_lits2017(lits, range(12), shape=TINY)
    before = [make(command, tmp_path, allow_partial=True) for command in (brats2018, lits2017)]
    for patient in sorted((brats / "HGG").iterdir())[:3]:
        (patient / f"{patient.name}_seg.nii.gz").unlink()
    for number in range(4):
        (lits / "Training Batch 1" / f"segmentation-{number}.nii").unlink()
    for first, command in zip(before, (brats2018, lits2017), strict=True):
        after = make(command, tmp_path, stage="finetuning", allow_partial=True)
        assert len(after["problems"]) == (3 if command is brats2018 else 4)
        for split in SPLITS:
            assert groups(after, split) <= groups(first, split)


def test_an_id_in_both_folders_of_msd_heart_is_named(tmp_path):
    folder = write_msd_heart(tmp_path / "msd_heart", 3, 1, shape=TINY)
    (folder / "imagesTs" / "la_003.nii.gz").rename(folder / "imagesTs" / "la_000.nii.gz")
    datalist = make(msd_heart, tmp_path, allow_partial=True)
    assert len(datalist["training"]) + len(datalist["validation"]) == 3
    assert any("imagesTs/la_000.nii.gz: occurs twice, see imagesTr/la_000.nii.gz" in p for p in datalist["problems"])


def test_mmwhs_notes_the_stray_label_and_misses_no_atrium(sets, tmp_path):
    notes = make(mmwhs, sets)["notes"]
    stray = [note for note in notes if "of label 421" in note]
    assert len(stray) == 1
    assert "mr_train_1010_label.nii.gz: 1 voxels of label 421" in stray[0]
    folder = tmp_path / "other"
    write_mmwhs(folder / "mmwhs", 2, 2, shape=TINY)
    file = folder / "mmwhs" / "ct_train" / "ct_train_1002_label.nii.gz"
    voxels, affine = read_scan(file)
    write_scan(file, np.where(voxels == LEFT_ATRIUM, 77, voxels).astype(np.int16), affine)
    differences = make(mmwhs, folder, allow_partial=True)["differences"]
    assert any("voxels of label 77" in line for line in differences)
    assert any(line.endswith("ct_train_1002_label.nii.gz: no voxel of label 420") for line in differences)


def test_lits_leaves_the_131st_out_and_needs_segmentations_for_finetuning_only(sets, tmp_path):
    assert any("volume-130 left out" in note for note in make(lits2017, sets)["notes"])
    write_lits2017(tmp_path / "few" / "lits2017", range(6), shape=TINY)
    (tmp_path / "few" / "lits2017" / "Training Batch 1" / "segmentation-3.nii").unlink()
    assert make(lits2017, tmp_path / "few", allow_partial=True)["problems"] == []
    problems = make(lits2017, tmp_path / "few", stage="finetuning", allow_partial=True)["problems"]
    assert len(problems) == 1
    assert problems[0].endswith("segmentation-3.nii: missing: volume-3 skipped")


def test_adni_takes_the_earliest_scan_and_names_lost_subjects(tmp_path):
    folder = write_adni(tmp_path / "adni", 4, 4, 0, shape=TINY)
    subject = "002_S_0000"
    write_scan(folder / adni_file(subject, 40000, "2005-01-02"), body(TINY, "mri", 1))
    rows = (folder / "ADNI1_Screening.csv").read_text() + "I99,009_S_9999,AD\n"
    (folder / "ADNI1_Screening.csv").write_text(rows)
    datalist = make(adni, tmp_path, allow_partial=True)
    images = {case["group"]: case["image"] for split in SPLITS for case in datalist[split]}
    assert "2005-01-02" in images[subject]
    assert "ADNI1_Screening.csv: no scan of 1 subjects, the first is 009_S_9999" in datalist["differences"]


def test_luna_has_the_folds_of_the_paper_and_its_candidates(sets, tmp_path):
    datalist = make(luna2016, sets, stage="finetuning", allow_partial=True)
    folds = {split: {case["fold"] for case in datalist[split]} for split in SPLITS}
    assert folds["training"] | folds["validation"] == set(range(7))
    assert folds["test"] == {7, 8, 9}
    assert "subset0: 1 scans, 89 expected" in datalist["differences"]
    assert "candidates test: 12, 166225 expected" in datalist["differences"]
    assert "positive candidates train and validation: 7, 968 expected" in datalist["differences"]
    assert any("patients unknown" in note for note in datalist["notes"])
    for case in datalist["training"]:
        assert [row[3] for row in case["candidates"]] == [1, 0, 0, 0]
    second = make(luna2016, sets, stage="finetuning", allow_partial=True, candidates="candidates_V2.csv")
    assert "candidates_V2.csv: not the paper's list, whose numbers of candidates do not apply" in second["notes"]
    assert not any("candidates" in line for line in second["differences"])
    assert sum(len(case["candidates"]) for case in second["test"]) == 15
    assert all("candidates" not in case for case in make(luna2016, sets, allow_partial=True)["training"])


@pytest.mark.slow
def test_whole_luna_has_the_papers_numbers(tmp_path):
    scans = write_luna2016(tmp_path / "luna2016", scans_per_fold=FOLD_SIZES, shape=(9, 9, 9))
    lines = ["seriesuid,coordX,coordY,coordZ,class"]
    for is_test, total, positive in ((False, 384_840, 968), (True, 166_225, 383)):
        part = [scan for scan in scans if (scan.fold >= 7) is is_test]
        rows = [f"{scan.seriesuid},{','.join(str(value) for value in scan.candidates[0][:3])}," for scan in part]
        lines += [rows[n % len(rows)] + str(int(n < positive)) for n in range(total)]
    (tmp_path / "luna2016" / "candidates.csv").write_text("\n".join(lines))
    datalist = make(luna2016, tmp_path, stage="finetuning")  # nothing differs, or this would refuse
    assert len(datalist["test"]) == 265
    assert len(datalist["training"]) + len(datalist["validation"]) == 623
    assert {row["what"]: row["found"] for row in datalist["counts"]} == {
        "scans train and validation": 623,
        "scans test": 265,
        "candidates train and validation": 384_840,
        "positive candidates train and validation": 968,
        "candidates test": 166_225,
        "positive candidates test": 383,
    }


@pytest.mark.slow
def test_whole_brats_has_the_papers_numbers(tmp_path):
    write_brats2018(tmp_path / "brats2018", 210, 75, shape=(9, 11, 9))
    before = make(brats2018, tmp_path)
    after = make(brats2018, tmp_path, stage="finetuning")
    assert len(before["training"]) + len(before["validation"]) == 760  # Table I
    for grade, expected in {"HGG": (140, 70), "LGG": (50, 25)}.items():
        sides = groups(after, "training", grade) | groups(after, "validation", grade), groups(after, "test", grade)
        assert tuple(map(len, sides)) == expected
    assert {case["contrast"] for case in after["test"]} == {"flair"}


@pytest.mark.parametrize(("command", "options"), [(mmwhs, {"modality": "mri"}), (adni, {})])
def test_entries_are_what_the_target_tasks_read(sets, command, options):
    make(command, sets, **options)
    for split in SPLITS:
        file, root = sets / f"{command.__name__}.json", sets / command.__name__
        cases = read_cases(file, root, split)
        assert len(cases) == len(json.loads(file.read_text())[split])
        monai = load_decathlon_datalist(str(file), True, split, str(root))
        assert [case["image"] for case in monai] == [case["image"] for case in cases]


def test_luna_names_missing_folds_lost_candidates_and_crossing_patients(tmp_path):
    scans = write_luna2016(tmp_path / "luna2016", folds=(0, 1, 2, 7), shape=TINY)
    patients = ["LIDC-1", "LIDC-2", "LIDC-2", "LIDC-1"]
    rows = [[scan.seriesuid, name] for scan, name in zip(scans, patients, strict=True)]
    write_table(tmp_path / "luna2016" / "metadata.csv", ["Series UID", "Subject ID"], rows)
    (tmp_path / "luna2016" / "subset1" / f"{scans[1].seriesuid}.raw").unlink()
    options = {"stage": "finetuning", "allow_partial": True, "patients": "metadata.csv", "validation_fraction": 0}
    datalist = make(luna2016, tmp_path, **options)
    assert [case["group"] for case in datalist["training"]] == ["LIDC-2"]
    assert "subset3: missing or empty" in " ".join(datalist["differences"])
    assert any("patient LIDC-1 is in the test folds too: left out" in line for line in datalist["differences"])
    assert any("4 candidates of 1 missing scans" in line for line in datalist["differences"])
    assert [f"{scans[1].seriesuid}.mhd: unreadable" in line for line in datalist["problems"]] == [True]
    assert any("patients from metadata.csv: 2 have more than one scan" in note for note in datalist["notes"])


def test_candidates_outside_their_scan_are_left_out(tmp_path):
    scans = write_luna2016(tmp_path / "luna2016", folds=(0, 7), shape=TINY)
    with open(tmp_path / "luna2016" / "candidates.csv", "a") as stream:
        stream.write(f"{scans[0].seriesuid},500,0,0,0\n")
    datalist = make(luna2016, tmp_path, stage="finetuning", allow_partial=True)
    assert len(datalist["training"][0]["candidates"]) == 4
    assert [line.endswith("1 candidates lie outside it: left out") for line in datalist["problems"]] == [True]


@pytest.mark.parametrize("number", [0, 1])
def test_candidate_crop_is_centered_on_the_world_coordinate(sets, tmp_path, number):
    scan = sorted(write_luna2016(tmp_path / "again"), key=lambda scan: scan.seriesuid)[number]
    datalist = make(luna2016, sets, stage="finetuning", allow_partial=True)
    entries = {case["seriesuid"]: case for split in SPLITS for case in datalist[split]}
    entry = entries[scan.seriesuid]
    point = entry["candidates"][0][:3]
    file = sets / "luna2016" / entry["image"]
    image = itk.imread(str(file))  # an independent reading of the header
    index = image.TransformPhysicalPointToIndex(point)
    assert (tuple(index), image.GetPixel(index)) == (scan.positive, MARK)
    volume = load_scan(file, (-1000, 1000), "range")
    centers = nearest_voxels([point], volume.affine)
    cube = cut_cubes_at(volume.volume[None], centers, (8, 8, 8))[0, 0]
    assert cube[4, 4, 4] > 0.92  # the mark is 0.95, more where the spline overshoots; all else is below 0.6
    bright = (cube > 0.9).nonzero().float().mean(dim=0)  # the middle of the marked block
    assert (bright - 4).abs().max() <= 0.75
    place = volume.affine @ [*centers[0].tolist(), 1]
    assert np.abs(place[:3] * [-1, -1, 1] - point).max() <= 0.5 + 1e-6  # mm: half a voxel of the resampled scan


def test_lnc_trains_on_cubes_around_the_datalists_candidates(sets, tmp_path):
    make(luna2016, sets, stage="finetuning", allow_partial=True)
    cases = read_classes(str(sets / "luna2016.json"), str(sets / "luna2016"), "test")
    scans = ScanCache(str(tmp_path / "scans"), (-1000, 1000), "range")
    scans.prepare(cases)
    dataset = ClassificationDataset(cases, scans, (8, 8, 8))
    assert dataset.labels.tolist() == [1, 0, 0, 0] * 3
    for item in (dataset[0], dataset[4], dataset[8]):
        assert item["image"][0, 4, 4, 4] > 0.92  # the marked voxel, see above
        assert (item["image"][0] > 0.92).float().mean() < 0.3  # the mark alone: 5 × 5 × 7.5 mm of 8 × 8 × 8


def test_adc_reads_its_classes(sets):
    make(adni, sets)
    cases = read_classes(str(sets / "adni.json"), str(sets / "adni"), "training")
    assert Counter(case["label"] for case in cases) == {1: 30, 0: 36}


def test_a_difference_ends_in_one_line_and_writes_nothing(sets, tmp_path, monkeypatch, capsys):
    arguments = ["--root", str(sets / "brats2018"), "--output", str(tmp_path / "a.json"), "--num_workers", "0"]
    monkeypatch.setattr(sys, "argv", ["universal_model_components", "datalist", "brats2018", *arguments])
    with pytest.raises(ValueError, match="differences") as caught:
        main()
    assert str(caught.value).startswith("datalist brats2018: 5 differences, listed above")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.json").exists()
    out = capsys.readouterr().out
    assert ["HGG", "patients", "train", "and", "validation", "4", "140"] in [line.split() for line in out.splitlines()]
    assert "differs: LGG patients test: 1, 25 expected" in out


def test_corrupt_members_are_named_skipped_and_nothing_is_lost(tmp_path):
    folder = write_brats2018(tmp_path / "brats2018", 3, 3, shape=TINY)
    options = {"stage": "finetuning", "allow_partial": True, "validation_fraction": 0}
    good = make(brats2018, tmp_path, **options)
    image = folder / good["training"][0]["image"]
    image.write_bytes(image.read_bytes()[:-200])
    mask = folder / good["training"][1]["label"]
    voxels, affine = read_scan(mask)
    write_scan(mask, voxels[:-1], affine)
    (folder / good["training"][2]["image"]).unlink()
    bad = make(brats2018, tmp_path, **options)
    assert len(bad["problems"]) == 3
    assert any(line.startswith(f"{image}: unreadable or truncated") for line in bad["problems"])
    assert any(line.startswith(f"{mask}: shape (15, 14, 12), expected (16, 14, 12) of ") for line in bad["problems"])
    assert all("\n" not in line for line in bad["problems"])
    left = {c["case"] for split in SPLITS for c in good[split]} - {c["case"] for c in good["training"][:3]}
    assert {c["case"] for split in SPLITS for c in bad[split]} == left


def test_second_run_reads_nothing_again(tmp_path, monkeypatch):
    write_mmwhs(tmp_path / "mmwhs", 3, 0, shape=TINY)
    first = make(mmwhs, tmp_path, modality="ct", allow_partial=True)
    with open(tmp_path / CACHE, "a") as lines:
        lines.write('["torn')  # as an interrupted run leaves it
    monkeypatch.setattr("universal_model_components.datalists.inspection.read_scan", None)
    assert make(mmwhs, tmp_path, modality="ct", allow_partial=True) == first
    monkeypatch.undo()
    changed = tmp_path / "mmwhs" / "ct_train" / "ct_train_1001_image.nii.gz"
    write_scan(changed, body(TINY, seed=1), read_scan(changed)[1])
    make(mmwhs, tmp_path, modality="ct", allow_partial=True)
    monkeypatch.setattr("universal_model_components.datalists.inspection.read_scan", None)
    again = make(mmwhs, tmp_path, modality="ct", allow_partial=True)  # the line after the torn one was read
    hashes = [{c["case"]: c["sha256"] for split in SPLITS for c in lists[split]} for lists in (first, again)]
    assert [name for name in hashes[0] if hashes[0][name] != hashes[1][name]] == ["mmwhs/ct_train_1001"]


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (mmwhs, {"stage": "pretraining"}, "stage: 'pretraining' is not one of .'finetuning'., which mmwhs is used for"),
        (mmwhs, {"modality": "pet"}, "modality: 'pet' is neither 'ct' nor 'mri'"),
        (lits2017, {"split": "other"}, "split: 'other' is neither"),
        (lits2017, {"split": "fixed", "test_ids": "ids.txt"}, "test_ids: 'ids.txt' and split 'fixed' both say who"),
        (lits2017, {"validation_fraction": 1}, "validation_fraction: 1 is not from 0 to below 1"),
        (lits2017, {"seed": "a"}, "seed: 'a' is not a whole number"),
        (brats2018, {"allow_partial": "maybe"}, "allow_partial: 'maybe' is not a boolean"),
        (brats2018, {"test_ids": "none.txt"}, "test_ids: cannot read none.txt"),
        (luna2016, {"stage": "finetuning", "candidates": "other.csv"}, "candidates: no other.csv in "),
        (adni, {"table": "other.csv"}, "table: no other.csv in "),
        (lits2017, {"num_workers": -1}, "num_workers: -1 is not a number of processes"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(sets, tmp_path, command, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        command(str(sets / command.__name__), str(tmp_path / "a.json"), **{"num_workers": 0, **options})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.json").exists()


def test_a_missing_root_and_a_folder_for_the_output_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"root: .*none is not a folder: give the one that adni was unpacked into"):
        adni(str(tmp_path / "none"), str(tmp_path / "a.json"))
    with pytest.raises(ValueError, match=r"output: .* is a folder: give the name of a file, for example adni.json"):
        adni(str(tmp_path), str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"output: nothing can be written in .*file: give another place"):
        msd_heart(str(tmp_path), str(tmp_path / "file" / "lists" / "a.json"))
    with pytest.raises(
        ValueError, match=r"datalist msd_heart: no usable scan in .*: give the folder that it was unpack"
    ):
        msd_heart(str(tmp_path), str(tmp_path / "a.json"), num_workers=0)


def test_a_misspelled_option_stops_before_any_work(sets, tmp_path, monkeypatch, capsys):
    arguments = ["--sead", "1", "--root", str(sets / "msd_heart"), "--output", str(tmp_path / "a.json")]
    monkeypatch.setattr(sys, "argv", ["universal_model_components", "datalist", "msd_heart", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "--sead" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()
