# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from luna import write_datalist, write_luna16
from monai.transforms import Compose, RandGaussianNoised
from scan_files import body, write_scan

from universal_model_components.imaging.hdf5 import case_file
from universal_model_components.imaging.normalization import load_scan
from universal_model_components.tasks.augmentation import RandSymmetryd
from universal_model_components.tasks.candidates import cut_cube, nearest_voxels
from universal_model_components.tasks.classification_data import (
    ClassificationDataset,
    check_classes,
    read_classes,
    sample_labels,
    thin_negatives,
)
from universal_model_components.tasks.scan_cache import ScanCache

CT = {"intensity_range": [-1000, 1000], "intensity_scale": "range"}
AUGMENTATION = Compose([RandSymmetryd("image"), RandGaussianNoised("image", prob=0.5)])


@pytest.fixture(scope="module")
def luna(tmp_path_factory):
    folder = tmp_path_factory.mktemp("luna")
    entries = write_luna16(folder)
    return write_datalist(folder, entries[:2], entries[2:3], entries[3:])


@pytest.fixture(scope="module")
def prepared(luna):
    cases = read_classes(str(luna), str(luna.parent), "training")
    scans = ScanCache(str(luna.parent / "cache"), **CT)
    scans.prepare(cases, num_workers=0)
    return cases, scans


def test_a_sample_is_its_candidates_cube(prepared):
    cases, scans = prepared
    data = ClassificationDataset(cases, scans, [16, 16, 8])
    assert len(data) == 10
    assert data.labels.tolist() == [1, 1, 0, 0, 0] * 2
    scan = load_scan(cases[1]["image"], CT["intensity_range"], "range")
    for number in range(5):
        item, (x, y, z, label) = data[5 + number], cases[1]["candidates"][number]
        center = nearest_voxels([[x, y, z]], scan.affine)[0]
        expected = cut_cube(scan.volume.numpy(), center, [16, 16, 8])
        assert item["image"].shape == (1, 16, 16, 8)
        np.testing.assert_allclose(item["image"][0].numpy(), expected, atol=0.5 / 4095 + 1e-7)
        assert (item["label"], item["seriesuid"], item["position"].tolist()) == (
            label,
            cases[1]["seriesuid"],
            [x, y, z],
        )
        assert (item["image"][0, 8, 8, 4] > 0.5) == bool(label)


def test_each_scan_is_resampled_once(prepared, monkeypatch):
    cases, scans = prepared
    import universal_model_components.tasks.scan_cache as module

    calls = []
    monkeypatch.setattr(module, "load_scan", lambda file, **kwargs: calls.append(file) or load_scan(file, **kwargs))
    scans.prepare(cases)
    assert [ClassificationDataset(cases, scans, [8, 8, 8])[n]["label"] for n in range(10)] == [1, 1, 0, 0, 0] * 2
    assert calls == []
    other = ScanCache(scans.folder + "_other", **CT, spacing=[2, 2, 2])
    other.prepare(cases)
    assert calls == [case["image"] for case in cases]
    ScanCache(other.folder, **CT, spacing=[4, 4, 4]).prepare(cases[:1])  # other settings: made again
    assert len(calls) == 3


def test_random_sampling_is_a_function_of_the_seed(prepared):
    data = ClassificationDataset(*prepared, [16, 16, 8], AUGMENTATION)
    first = data[3, 2**41]["image"]
    data[4, 7]
    assert torch.equal(data[3, 2**41]["image"], first)
    assert not any(torch.equal(data[3, seed]["image"], data[3, seed + 1]["image"]) for seed in range(5))


def test_a_label_gives_the_middle_of_the_scan(tmp_path):
    for number in range(2):
        write_scan(tmp_path / f"{number}.nii.gz", body((20, 25, 22), "mri", number), 1.0)
    datalist = write_datalist(tmp_path, [{"image": f"{n}.nii.gz", "label": n} for n in range(2)], [], [])
    cases = read_classes(str(datalist), str(tmp_path), "training")
    scans = ScanCache(str(tmp_path / "cache"), "null", "volume", "null", "false")
    scans.prepare(cases)
    data = ClassificationDataset(cases, scans, [16, 32, 16])
    volume = load_scan(cases[1]["image"], None, "volume", None).volume
    item = data[1]
    assert (item["label"], item["case"], item["group"]) == (1, "1", "1")
    assert "position" not in item
    np.testing.assert_allclose(item["image"][0, :, 4:29].numpy(), volume[2:18, :, 3:19].numpy(), atol=1e-3)
    assert float(item["image"][0, :, :4].max()) == 0


def test_a_cache_keeps_scans_scaled_by_percentiles(tmp_path):
    voxels = body((20, 25, 22), "mri")
    voxels[0, 0, 0] = 20000
    case = {"image": str(write_scan(tmp_path / "a.nii", voxels, 1.0)), "case": "a"}
    for scale in ("volume", "percentiles"):  # made again for the other one
        scans = ScanCache(str(tmp_path / "cache"), None, scale, None)
        scans.prepare([case])
        expected = load_scan(case["image"], None, scale, None).volume
        np.testing.assert_allclose(scans.cube(case, None, expected.shape), expected, atol=0.5 / 4095 + 1e-7)
    assert expected[10, 12, 11] > 0.9


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        [[{"label": 1}, {"label": 1}], "zero negatives .class 0. among the 2 samples"],
        [[{"label": 0}], "zero positives .class 1. among the 1 samples"],
        [[{"candidates": [[0, 0, 0, 0]]}], "zero positives"],
        [[{"label": 2}], "label is 2, expected 0 or 1"],
        [[{}], "label is None, expected 0 or 1, or 'candidates'"],
        [[{"candidates": [[0, 0, 0]]}], r"candidate \[0, 0, 0\], expected \[x, y, z, class\]"],
        [[{"candidates": [["0", 0, 0, 1]]}], r"candidate \['0', 0, 0, 1\], expected \[x, y, z, class\], mm"],
        [[{"candidates": [[0, float("nan"), 0, 1]]}], r"candidate \[0, nan, 0, 1\], expected"],
        [[{"candidates": [7]}], "candidate 7, expected"],
        [[{"candidates": None}], "candidates is None, expected a list"],
    ],
)
def test_lists_that_cannot_be_trained_on(entries, message, tmp_path):
    image = write_scan(tmp_path / "a.nii.gz", body())
    training = [{"image": image.name, "case": str(n), **entry} for n, entry in enumerate(entries)]
    with pytest.raises(ValueError, match=message) as caught:
        read_classes(str(write_datalist(tmp_path, training, [], [])), str(tmp_path), "training")
    assert "\n" not in str(caught.value)


def test_scans_and_candidates_are_checked_before_training(luna, tmp_path):
    cases = json.loads(luna.read_text())["training"]
    for case in cases:
        case["image"] = str(luna.parent / case["image"])
    cases[1]["candidates"][0][0] += 1000
    with pytest.raises(ValueError, match=f"1 of 5 lie outside {cases[1]['image']}"):
        ScanCache(str(tmp_path / "cache"), **CT).prepare(cases)
    flat = write_scan(tmp_path / "flat.nii.gz", np.zeros((8, 8, 8)))
    with pytest.raises(ValueError, match=r"1 of 2 cases cannot be used: .*flat.nii.gz: constant") as caught:
        ScanCache(str(tmp_path / "cache"), **CT).prepare([cases[0], {"image": str(flat), "case": "flat", "label": 0}])
    assert "\n" not in str(caught.value)


def test_an_evaluation_leaves_out_what_cannot_be_used(luna, tmp_path):
    cases = read_classes(str(luna), str(luna.parent), "training", check_files=False)
    cases[0]["image"] = str(tmp_path / "gone.nii.gz")
    scans = ScanCache(str(tmp_path / "cache"), **CT)
    data = ClassificationDataset(cases, scans, [8, 8, 8])
    whole = len(data)
    data.leave_out(scans.try_to_prepare(data.data))
    (problem,) = data.problems
    assert (problem.case, "gone.nii.gz" in problem.reason) == (cases[0]["case"], True)
    assert len(data) == len(data.labels) == whole - len(cases[0]["candidates"])
    assert {data[place]["case"] for place in range(len(data))} == {case["case"] for case in cases[1:]}
    whole_scan = {"image": cases[0]["image"], "case": "x", "label": 1}  # without candidates, no header is read before
    assert [problem.case for problem in scans.try_to_prepare([whole_scan])] == ["x"]
    with pytest.raises(ValueError, match=r"1 of 1 cases cannot be used: .*gone\.nii\.gz"):
        ClassificationDataset(cases[:1], scans, [8, 8, 8]).leave_out(scans.try_to_prepare(cases[:1]))


def test_a_cached_scan_that_was_damaged_is_named(luna, tmp_path):
    cases = read_classes(str(luna), str(luna.parent), "validation")
    scans = ScanCache(str(tmp_path), **CT)
    data = ClassificationDataset(cases, scans, [8, 8, 8])
    with pytest.raises(OSError, match=r"\.h5: unreadable"):
        data[0]
    scans.prepare(cases)
    (file,) = tmp_path.rglob("*.h5")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(OSError, match=r"\.h5: unreadable"):
        data[0]
    scans.prepare(cases)  # a damaged file is made again
    assert data[0]["label"] == 1
    content = bytearray(file.read_bytes())
    middle = len(content) // 2  # among the voxels: only reading them shows the damage
    content[middle - 4000 : middle + 4000] = bytes(8000)
    file.write_bytes(content)
    with pytest.raises(OSError, match=r"\.h5: unreadable .*: delete it, and training makes it again"):
        scans.cube(cases[0], None, [64, 64, 64])


def test_the_cached_scan_of_another_case_is_not_read(luna, tmp_path):
    case = read_classes(str(luna), str(luna.parent), "validation")[0]
    entries = [{**case, "case": name} for name in "ab"]
    scans = ScanCache(str(tmp_path), **CT)
    scans.prepare(entries)
    first, second = (case_file(tmp_path, entry["case"]) for entry in entries)
    shutil.copy(first, second)
    with pytest.raises(OSError, match=r"\.h5: holds the scan of case 'a': delete it, and training makes it again"):
        scans.cube(entries[1], None, [8, 8, 8])
    scans.prepare(entries)
    assert scans.cube(entries[1], None, [8, 8, 8]).shape == (8, 8, 8)


def test_another_runs_settings_are_not_trained_on(luna, tmp_path):
    """Two runs share a folder, and the second wants another grid: the first must not use the second's scans."""
    cases = read_classes(str(luna), str(luna.parent), "validation")
    first, second = ScanCache(str(tmp_path), **CT), ScanCache(str(tmp_path), **CT, spacing=[2, 2, 2])
    first.prepare(cases)
    second.prepare(cases)
    assert ClassificationDataset(cases, second, [8, 8, 8])[0]["label"] == 1
    with pytest.raises(OSError, match=r"\.h5: made again by a run with other settings.*its own cache_dir"):
        ClassificationDataset(cases, first, [8, 8, 8])[0]


@pytest.mark.parametrize(("negatives", "kept"), [[2, 12], [0.1, 5], [1000, 104]])
def test_thinned_negatives(negatives, kept):
    labels = torch.zeros(104, dtype=torch.int64)
    labels[[3, 50, 51, 103]] = 1
    chosen = thin_negatives(labels, negatives, seed=1)
    assert len(chosen) == kept
    assert int(labels[chosen].sum()) == 4
    assert chosen.unique().equal(chosen)


def test_label_fraction_loses_no_class(tmp_path):
    image = write_scan(tmp_path / "a.nii.gz", body())
    training = [{"image": image.name, "case": str(n), "label": int(n < 3)} for n in range(20)]
    datalist = str(write_datalist(tmp_path, training, [], []))
    kept = [read_classes(datalist, str(tmp_path), "training", share) for share in (1.0, 0.3, 0.1)]
    assert [sum(case["label"] for case in part) for part in kept] == [3, 1, 1]
    assert [len(part) for part in kept] == [20, 6, 3]
    assert {case["case"] for case in kept[2]} <= {case["case"] for case in kept[1]}


CANDIDATE = [1.0, 2.0, 3.0, 1]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"label": 1}, None),
        ({"candidates": []}, None),
        ({"candidates": [CANDIDATE]}, None),
        ({}, "label is None, expected 0 or 1"),
        ({"label": 2}, "label is 2, expected 0 or 1"),
        ({"label": "1"}, "label is '1', expected 0 or 1"),
        ({"candidates": 3}, "candidates is 3, expected a list of them"),
        ({"candidates": [CANDIDATE, CANDIDATE[:3]]}, r"candidate \[1.0, 2.0, 3.0\], expected \[x, y, z, class\]"),
        ({"candidates": [[1.0, 2.0, float("nan"), 0]]}, "expected .x, y, z, class., mm and 0 or 1"),
    ],
)
def test_an_entry_says_what_class_its_samples_are_of(case, message):
    if message is None:
        check_classes(case, "here")
        return
    with pytest.raises(ValueError, match=f"^here: .*{message}"):
        check_classes(case, "here")


def test_labels_come_case_by_case_and_candidate_by_candidate():
    cases = [{"candidates": [[0, 0, 0, 1], [0, 0, 0, 0]]}, {"candidates": []}, {"candidates": [[0, 0, 0, 1]]}]
    assert sample_labels(cases).tolist() == [1, 0, 1]
    assert sample_labels([{"label": 1}, {"label": 0}]).tolist() == [1, 0]
    assert sample_labels([]).dtype == torch.int64
