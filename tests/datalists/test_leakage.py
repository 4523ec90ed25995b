# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
from public_sets import reoriented, write_brats2018, write_lits2017, write_luna2016, write_metaimage
from scan_files import body, write_scan

from universal_model_components.__main__ import main
from universal_model_components.datalists.fingerprints import count_intensities, fingerprint, likeness
from universal_model_components.datalists.leakage import (
    Leakage,
    Member,
    check,
    find_leakage,
    is_leak,
    patient_of,
    read_members,
)
from universal_model_components.datalists.making import CACHE
from universal_model_components.datalists.own_scans import folder
from universal_model_components.datalists.public.brats2018 import brats2018
from universal_model_components.datalists.public.lits2017 import lits2017
from universal_model_components.datalists.public.luna2016 import luna2016
from universal_model_components.imaging.reading import read_scan

SHAPE = (28, 24, 20)
SAME, OTHER = "the same voxels", "the same voxels with other intensities"


def mark(voxels: np.ndarray) -> dict:
    return fingerprint(voxels, *count_intensities(voxels))


@pytest.fixture(scope="module")
def ct():
    """A CT whose every level holds many voxels, as in a real one."""
    return body((64, 60, 48), seed=5)


@pytest.mark.parametrize(
    "voxels",
    [
        np.random.default_rng(0).integers(-1024, 3000, (9, 8, 7)).astype(np.int16),
        np.random.default_rng(1).integers(0, 255, (9, 8, 7)).astype(np.uint8),
        np.random.default_rng(2).integers(-5, 5, (9, 8, 7)).astype(np.float64),
        np.random.default_rng(3).normal(0, 1, (9, 8, 7)).astype(np.float32),
        np.random.default_rng(4).integers(-(2**40), 2**40, (9, 8, 7)),
        np.array([[[np.nan, 1.0], [-0.0, 0.0]], [[np.nan, 1.0], [np.inf, 2.5]]]),
    ],
    ids=["int16", "uint8", "whole", "float", "int64", "odd"],
)
def test_counts_are_those_of_sorting(voxels):
    values, counts = count_intensities(np.asfortranarray(voxels))
    expected, numbers = np.unique(voxels.astype(np.float32), return_counts=True)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(counts, numbers)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAI", "PSR", "SLA", "IRP"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_a_scan_is_found_in_any_orientation_and_type(tmp_path, ct, codes, dtype):
    first = write_scan(tmp_path / "a.nii", ct, 1.5)
    second = reoriented(first, tmp_path / "b.nii.gz", codes, dtype)
    assert likeness(mark(read_scan(first)[0]), mark(read_scan(second)[0])) == SAME


@pytest.mark.parametrize("name", ["b.mha", "b.mhd", "b.nrrd", "b.nii.gz"])
def test_a_scan_is_found_in_any_format(tmp_path, ct, name):
    first = write_scan(tmp_path / "a.nii", ct, 1.5)
    itk.imwrite(itk.imread(str(first)), str(tmp_path / name), compression=True)
    assert likeness(mark(read_scan(first)[0]), mark(read_scan(tmp_path / name)[0])) == SAME


CHANGES = {
    "offset": lambda hu: hu + 1024,
    "scaled to [0, 1]": lambda hu: ((hu.astype(np.float32) + 1024) / 4095).astype(np.float32),
    "padding": lambda hu: np.where(hu == hu.min(), -3024, hu),
    "lung window": lambda hu: hu.clip(-1040, 60),
    "soft tissue window": lambda hu: hu.clip(-300, 300),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_scan_is_found_with_other_intensities(ct, change):
    assert likeness(mark(ct), mark(np.flip(CHANGES[change](ct), 1).transpose(2, 0, 1))) == OTHER


def test_other_scans_are_not_alike(ct):
    assert likeness(mark(ct), mark(body((64, 60, 48), seed=6))) is None
    assert likeness(mark(ct), mark(ct[1:])) is None  # a crop is not found, and the docstring says so
    rng = np.random.default_rng(0)
    continuous = [mark(rng.normal(0, 1, (12, 12, 12)).astype(np.float32)) for _ in range(2)]
    assert continuous[0]["levels"] == []  # each value once: counts carry no information
    assert likeness(*continuous) is None
    sparse = [mark(rng.integers(0, 3000, (12, 12, 12))) for _ in range(40)]
    assert not any(likeness(*pair) for pair in itertools.combinations(sparse, 2))


@pytest.mark.parametrize("levels", [2, 64, None], ids=["binary", "equalized", "ranks"])
def test_scans_with_one_histogram_are_distinguished_by_places(levels):
    def drawn(seed):
        ranks = np.random.default_rng(seed).permutation(14 * 12 * 10)
        return (ranks if levels is None else ranks * levels // ranks.size).reshape(14, 12, 10)

    first, second = mark(drawn(1)), mark(drawn(2))
    assert first["voxels"] == second["voxels"]
    assert likeness(first, second) is None
    turned = np.asfortranarray(np.flip(drawn(1), (0, 2)).transpose(2, 0, 1).astype(np.float64))
    assert likeness(first, mark(turned)) == SAME
    older = {key: value for key, value in first.items() if key != "places"}
    assert likeness(older, first) == SAME


def run(monkeypatch, *files) -> str | None:
    """Run `datalist check`; return the one line that it ends with, None when all is well."""
    arguments = ["datalist", "check", *map(str, files), "--num_workers", "0"]
    monkeypatch.setattr(sys, "argv", ["universal_model_components", *arguments])
    try:
        main()
    except ValueError as error:
        return str(error)
    return None


def listed(file: Path, name: str, **splits) -> Path:
    """Write a list of scans with the given entries; its folder is the file's."""
    file.write_text(json.dumps({"name": name, "version": 1, **splits}))
    return file


def entry(path, group=None, **more):
    return {"image": str(path), "modality": "ct", "case": str(path), **({"group": group} if group else {}), **more}


def test_lits_inside_another_sets_folder_is_found_and_named_on_both_sides(tmp_path, monkeypatch, capsys):
    lits = write_lits2017(tmp_path / "lits2017", range(8), shape=SHAPE)
    lits2017(str(lits), str(tmp_path / "lits.json"), stage="finetuning", allow_partial=True, num_workers=0)
    held = json.loads((tmp_path / "lits.json").read_text())["test"][0]
    liver = tmp_path / "Task03_Liver"
    reoriented(lits / held["image"], liver / "ct" / "liver_5.nii.gz", "PSR", np.float32)
    write_scan(liver / "ct" / "liver_6.nii.gz", body(SHAPE, seed=77))
    folder(str(liver), str(tmp_path / "liver.json"), "liver", modalities="ct", validation_fraction=0, num_workers=0)
    capsys.readouterr()
    assert "1 leaks, listed above" in run(monkeypatch, tmp_path / "liver.json", tmp_path / "lits.json")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("leak: ")]
    assert lines == [
        f"leak: test case {held['case']} of {tmp_path / 'lits.json'} ({lits / held['image']}) is training case "
        f"ct/liver_5.nii.gz of {tmp_path / 'liver.json'} ({liver / 'ct' / 'liver_5.nii.gz'}): the same voxels"
    ]


def test_luna_inside_lidc_is_found_by_content_and_by_patient(tmp_path):
    scans = write_luna2016(tmp_path / "luna2016", folds=(0, 7), shape=SHAPE)
    rows = [f"{scan.seriesuid},LIDC-IDRI-{number:04d}" for number, scan in enumerate(scans)]
    (tmp_path / "luna2016" / "patients.csv").write_text("\n".join(["seriesuid,patient", *rows]))
    options = {"stage": "finetuning", "allow_partial": True, "num_workers": 0, "patients": "patients.csv"}
    luna2016(str(tmp_path / "luna2016"), str(tmp_path / "luna.json"), **options)
    voxels, affine = read_scan(scans[1].file)
    padded = np.where(voxels == voxels.min(), -2000, voxels).astype(np.float32)  # another value of the padding
    write_scan(tmp_path / "lidc" / "a.nii.gz", padded[::-1], affine)
    write_scan(tmp_path / "lidc" / "b.nii.gz", body(SHAPE, seed=78))  # another scan of a test patient
    entries = [entry("a.nii.gz"), entry("b.nii.gz", "LIDC-IDRI-0001")]
    lidc = listed(tmp_path / "lidc" / "list.json", "lidc", training=entries)
    members = read_members(tmp_path / "luna.json") + read_members(lidc)
    reasons = [line.rsplit(": ", 1)[1] for line in find_leakage(members, num_workers=0).leaks]
    assert reasons == [OTHER, "the same patient 'LIDC-IDRI-0001'"]


@pytest.mark.parametrize(
    ("first", "second", "leaks"),
    [
        ({"training": ["a"]}, {"training": ["b"], "test": ["a"]}, 1),
        ({"training": ["c"], "validation": ["a"]}, {"training": ["b"], "test": ["a"]}, 1),
        ({"training": ["a"]}, {"training": ["b"], "validation": ["a"]}, 1),
        ({"training": ["b"], "validation": ["a"]}, {"training": ["a"]}, 0),  # pre-training may validate on it
        ({"training": ["a"], "validation": ["b"]}, {"training": ["a"], "validation": ["b"]}, 0),
        ({"test": ["a"]}, {"test": ["a"]}, 0),
        ({"training": ["a"]}, {"test": ["b"]}, 0),
        ({"training": ["a", "b"], "test": ["a", "b"]}, {"training": ["c"]}, 2),
    ],
)
def test_which_splits_may_share_a_scan(tmp_path, monkeypatch, first, second, leaks):
    for number, name in enumerate("abc"):
        write_scan(tmp_path / f"{name}.nii", body(SHAPE, seed=number))
    before = {split: [entry(f"{name}.nii") for name in names] for split, names in first.items()}
    after = {split: [entry(f"{name}.nii", label=1) for name in names] for split, names in second.items()}
    files = [listed(tmp_path / "a.json", "a", **before), listed(tmp_path / "b.json", "b", **after)]
    message = run(monkeypatch, *files)
    assert (message is None) if leaks == 0 else (f"datalist check: {leaks} leaks" in message)


def test_patients_and_file_names(tmp_path, monkeypatch):
    for number, name in enumerate("abcd"):
        write_scan(tmp_path / name / "s.nii", body(SHAPE, seed=number))
    first = listed(tmp_path / "a" / "l.json", "a", training=[entry("s.nii", "s")])
    second = listed(tmp_path / "b" / "l.json", "b", test=[entry("s.nii", "s", label=0)])  # a name, not a patient
    assert run(monkeypatch, first, second) is None
    third = listed(tmp_path / "c" / "l.json", "c", training=[entry("s.nii", "patient 7")])
    fourth = listed(tmp_path / "d" / "l.json", "d", test=[entry("s.nii", "patient 7", label=0)])
    assert "1 leaks" in run(monkeypatch, third, fourth)


def test_a_set_and_its_target_task_agree_by_seed_and_conflict_without(tmp_path, monkeypatch):
    write_brats2018(tmp_path / "brats2018", 4, 4, shape=SHAPE)
    for file, options in {"before": {}, "after": {"stage": "finetuning"}, "other": {"seed": 1}}.items():
        options |= {"allow_partial": True, "num_workers": 0}
        brats2018(str(tmp_path / "brats2018"), str(tmp_path / f"{file}.json"), **options)
    assert run(monkeypatch, tmp_path / "before.json", tmp_path / "after.json") is None
    assert "leaks, listed above" in run(monkeypatch, tmp_path / "other.json", tmp_path / "after.json")


def test_what_cannot_be_compared_is_an_error(tmp_path, monkeypatch, capsys):
    write_scan(tmp_path / "a.nii", body(SHAPE))
    file = listed(tmp_path / "a.json", "a", training=[entry("a.nii"), entry("gone.nii")])
    assert "1 scans could not be compared by content" in run(monkeypatch, file)
    assert f"not compared: {tmp_path / 'gone.nii'}: no such file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read .*a.json"),
        ('{"name": "a"}', "has no list training, validation, test"),
        ('{"test": [{"case": "a"}]}', r"entry 0 \(test\) has no 'image' \(found \['case'\]\)"),
    ],
)
def test_bad_lists_are_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        check(str(tmp_path / "a.json"))
    with pytest.raises(ValueError, match="no datalist given"):
        check()


def real_scans(data):
    return sorted([*data.glob("*/imagesTr/*.nii.gz"), *data.glob("pretraining/*/*.nii.gz")])


def test_no_two_real_scans_are_alike_and_each_is_found_turned(real_data):
    marks = {}
    for file in real_scans(real_data):
        voxels = read_scan(file)[0]
        marks[file] = mark(voxels)
        assert likeness(marks[file], mark(np.flip(voxels, 0).transpose(1, 2, 0).astype(np.float32))) == SAME
    assert len(marks) > 100
    assert not [pair for pair in itertools.combinations(marks, 2) if likeness(marks[pair[0]], marks[pair[1]])]


def test_real_ct_is_found_as_metaimage_and_windowed(real_data, tmp_path):
    file = real_data / "pretraining" / "ct" / "chest_LIDC-IDRI-0314.nii.gz"
    voxels = np.asarray(nibabel.load(file).dataobj)
    saved = write_metaimage(tmp_path / "a.mhd", voxels[::-1, ::-1], (0.7, 0.7, 2.5), (0, 0, 0))
    assert likeness(mark(read_scan(file)[0]), mark(read_scan(saved)[0])) == SAME
    assert likeness(mark(voxels), mark(voxels.clip(-1000, 1000) / 1000)) == OTHER


def test_real_contrasts_of_one_person_are_found_by_the_patients_id_alone(real_data, tmp_path):
    names = [f"subject_{n:02d}" for n in range(1, 5)]
    lists = []
    for name, split in (("dementia_t1_mri", "training"), ("lesion_flair_mri", "test")):
        entries = [entry(f"imagesTr/{subject}.nii.gz", subject) for subject in names]
        lists.append(listed(tmp_path / f"{name}.json", name, root=str(real_data / name), **{split: entries}))
    members = [member for file in lists for member in read_members(file)]
    leaks = find_leakage(members, tmp_path / CACHE, num_workers=0).leaks
    assert sorted(line.rsplit(": ", 1)[1] for line in leaks) == [f"the same patient {name!r}" for name in names]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"image": "a/1.nii", "group": "patient-1"}, "patient-1"),
        ({"image": "a/1.nii"}, None),
        ({"image": "a/1.nii", "group": "a/1"}, None),  # made of the file's name
        ({"image": "a/1.nii", "case": "own/a/1.nii", "group": "own/a/1"}, None),
    ],
)
def test_a_group_made_of_a_files_name_is_no_patient(entry, expected):
    assert patient_of(Member("list.json", "test", Path("a/1.nii"), entry, False, Path())) == expected


@pytest.mark.parametrize(
    ("held", "trained", "same_list", "expected"),
    [
        ("test", "training", False, True),
        ("test", "validation", False, True),
        ("test", "test", False, False),
        ("validation", "training", True, True),
        ("validation", "training", False, False),  # pre-training's validation beside another pre-training
        ("training", "validation", True, False),
    ],
)
def test_which_of_two_members_leaks(held, trained, same_list, expected):
    first = Member("a.json", held, Path("a"), {}, False, Path())
    second = Member("a.json" if same_list else "b.json", trained, Path("b"), {}, False, Path())
    assert is_leak(first, second) is expected
    assert Leakage().leaks == []
