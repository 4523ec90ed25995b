# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandGaussianNoised, Transform
from scan_files import body, write_scan

from universal_model_components.imaging.errors import ScanError
from universal_model_components.imaging.transforms import NormalizeScand
from universal_model_components.inference.inputs import list_scans
from universal_model_components.tasks.segmentation_data import (
    CaseDataset,
    cases_identity,
    check_entry,
    read_cases,
    share_of_rank,
    take_label_fraction,
)
from universal_model_components.utils.errors import root_cause


@pytest.fixture
def folder(tmp_path):
    """Three cases with labels, and their datalist."""
    entries = []
    for number in range(3):
        write_scan(tmp_path / f"images/case_{number}.nii.gz", body(seed=number))
        write_scan(tmp_path / f"labels/case_{number}.nii.gz", (body(seed=number) > -500).astype(np.uint8))
        entries.append({"image": f"images/case_{number}.nii.gz", "label": f"labels/case_{number}.nii.gz"})
    write_datalist(tmp_path, training=entries[:2], validation=entries[2:])
    return tmp_path


def write_datalist(folder, **splits):
    (folder / "datalist.json").write_text(json.dumps(splits))


def test_cases_come_with_whole_paths_and_ids(folder):
    cases = read_cases(folder / "datalist.json", folder, "training")
    assert [case["case"] for case in cases] == ["images/case_0", "images/case_1"]
    assert cases[0]["image"] == str(folder / "images/case_0.nii.gz")
    assert read_cases(folder / "datalist.json", folder, "test", optional=True) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        [{"image": "images/none.nii.gz"}, r"validation\[0\]: no file .*none.nii.gz: correct 'image'"],
        [
            {"label": "labels/small.nii.gz"},
            r"small.nii.gz: shape \(31, 32, 32\), expected \(32, 32, 32\) of .*/images/case_\d.nii.gz",
        ],
        [{"label": "labels/moved.nii.gz"}, r"moved.nii.gz: its corners lie up to 62 mm"],
        [{"label": "labels/broken.nii.gz"}, r"broken.nii.gz: no readable header"],
    ],
)
def test_what_does_not_fit_is_named_from_headers_alone(folder, change, message):
    entry = {"image": "images/case_2.nii.gz", "label": "labels/case_2.nii.gz"}
    write_scan(folder / "labels/small.nii.gz", np.zeros((31, 32, 32), np.uint8))
    write_scan(folder / "labels/moved.nii.gz", np.zeros((32, 32, 32), np.uint8), 4.0)
    (folder / "labels/broken.nii.gz").write_bytes(b"no NIfTI")
    write_datalist(folder, validation=[entry | change])
    with pytest.raises(ValueError, match=message) as caught:
        read_cases(folder / "datalist.json", folder, "validation")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ["no json", "cannot read"],
        ['{"training": []}', "has no 'training' cases"],
        ['{"training": [{"image": "images/case_0.nii.gz"}]}', "has no 'label'"],
        ['{"training": 5}', "is not a list"],
    ],
)
def test_a_bad_datalist_is_named(folder, content, message):
    (folder / "datalist.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_cases(folder / "datalist.json", folder, "training")


def test_a_case_is_there_once(folder):
    entry = {"image": "images/case_2.nii.gz", "label": "labels/case_2.nii.gz"}
    write_datalist(folder, training=[entry, entry])
    with pytest.raises(ValueError, match="'images/case_2' occurs twice in 'training'"):
        read_cases(folder / "datalist.json", folder, "training")


def test_fractions_are_nested_and_depend_on_the_seed():
    cases = [{"case": f"case_{i}"} for i in range(20)]
    chosen = {f: [c["case"] for c in take_label_fraction(cases, f, seed=3)] for f in (1.0, 0.7, 0.3, 0.1)}
    assert [len(chosen[f]) for f in (1.0, 0.7, 0.3, 0.1)] == [20, 14, 6, 2]
    assert set(chosen[0.1]) < set(chosen[0.3]) < set(chosen[0.7]) < set(chosen[1.0])
    assert chosen[0.3] == [c["case"] for c in take_label_fraction(cases[::-1], 0.3, seed=3)][::-1]
    assert chosen[0.3] != [c["case"] for c in take_label_fraction(cases, 0.3, seed=4)]
    assert len(take_label_fraction(cases[:2], 0.1)) == 1


@pytest.mark.parametrize("fraction", [0, 1.5, "all", True])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match="label_fraction"):
        take_label_fraction([{"case": "a"}], fraction)


def dataset(folder, data=None, **kwargs):
    keys = ["image", "label"]
    transforms = [LoadImaged(keys), EnsureChannelFirstd(keys), NormalizeScand("image", label_keys="label")]
    transforms.append(RandGaussianNoised("image", prob=1.0))
    return CaseDataset(data or read_cases(folder / "datalist.json", folder, "training"), Compose(transforms), **kwargs)


@pytest.mark.parametrize("cache_rate", [0.0, 1.0])
def test_what_is_drawn_depends_on_the_seed_alone(folder, cache_rate):
    data = dataset(folder, cache_rate=cache_rate)
    first = data[(0, 7)]["image"]
    data[(1, 9)]
    assert torch.equal(first, data[(0, 7)]["image"])
    assert torch.equal(first, data[(2, 7)]["image"])  # beyond the last case: the first again
    assert not torch.equal(first, data[(0, 8)]["image"])
    assert not torch.equal(first, data[(0, (1 << 40) + 7)]["image"])  # seeds of other runs differ in high bits only


@pytest.mark.parametrize("cache_rate", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_case_that_cannot_be_used_is_named_before_training(folder, cache_rate, threads):
    cases = folder / "images/case_0.nii.gz", folder / "labels/case_1.nii.gz"
    data = read_cases(folder / "datalist.json", folder, "training")
    cases[0].write_bytes(cases[0].read_bytes()[:-900])
    write_scan(cases[1], np.full((32, 32, 32), 0.5, np.float32))
    with pytest.raises(
        ValueError, match=r"^2 of 2 cases cannot be used: /.*images/case_0.nii.gz: .*labels/case_1"
    ) as why:
        dataset(folder, data, cache_rate=cache_rate, num_workers=threads)
    assert "label value 0.5 in 32768 voxels" in str(why.value)
    assert "\n" not in str(why.value)


def test_a_bug_is_raised_as_it_is(folder):
    class Deterministic(Transform):
        def __call__(self, case):
            raise TypeError("a bug")

    for cache_rate in (0.0, 1.0):
        with pytest.raises(RuntimeError) as caught:
            CaseDataset([{"image": None, "case": "a"}] * 3, Compose([Deterministic()]), cache_rate, num_workers=2)
        assert isinstance(root_cause(caught.value), TypeError)


def test_a_file_that_is_gone_later_is_named(folder):
    data = dataset(folder, cache_rate=0.0)
    (folder / "images/case_0.nii.gz").unlink()
    with pytest.raises(ScanError, match=r"case_0\.nii\.gz: no such file"):
        data[(0, 7)]


def test_images_of_a_folder_or_a_datalist(folder):
    assert len(list_scans(folder / "images")) == 3
    (only,) = list_scans(folder, folder / "datalist.json", "validation")
    assert only == {"image": str(folder / "images/case_2.nii.gz"), "case": "images/case_2"}
    with pytest.raises(ValueError, match="no scan in"):
        list_scans(folder / "nowhere")


@pytest.mark.parametrize(("cases", "ranks"), [[5, 1], [5, 2], [4, 4], [1, 2], [3, 8]])
def test_every_rank_validates_something_and_every_case_is_validated(cases, ranks):
    shares = [share_of_rank(cases, rank, ranks) for rank in range(ranks)]
    assert all(shares)
    assert {place for share in shares for place in share} == set(range(cases))
    counts = Counter(place for share in shares for place in share)
    assert len(set(counts.values())) == 1  # a mean over all is the mean over cases
    if cases >= ranks:
        assert sum(map(len, shares)) == cases


def test_an_entry_is_checked_and_completed(folder):
    entry = {"image": "images/case_0.nii.gz", "label": "labels/case_0.nii.gz", "group": "a"}
    case = check_entry("here", entry, folder, ("image", "label"))
    assert case == {
        "case": "images/case_0",
        "image": str(folder / "images/case_0.nii.gz"),
        "label": str(folder / "labels/case_0.nii.gz"),
        "group": "a",
    }
    with pytest.raises(ValueError, match=r"^here: no file .*gone\.nii: correct 'image', or dataset_dir"):
        check_entry("here", {"image": "gone.nii"}, folder, ("image",))
    gone = check_entry("here", {"image": "gone.nii"}, folder, ("image",), check_files=False)
    assert gone == {"image": str(folder / "gone.nii"), "case": "gone"}
    with pytest.raises(ValueError, match=r"^here: image is \['a.nii'\], expected a path"):
        check_entry("here", {"image": ["a.nii"]}, folder, ("image",))
    with pytest.raises(ValueError, match=r"^here .*'label'"):
        check_entry("here", {"image": "images/case_0.nii.gz"}, folder, ("image", "label"))


def test_cases_are_named_by_what_is_read_of_them():
    def name(root, **changes):
        cases = [{"case": "a", "image": f"{root}/a.nii.gz", "label": f"{root}/b.nii.gz", "note": "x"} | changes]
        return cases_identity(cases, cases[:0], root)

    assert name("/data").startswith("1 training and 0 validation cases, ")
    assert name("/data") == name("/elsewhere/data") == name("/data", note="y")
    assert (
        len({name("/data"), name("/data", label=1), name("/data", image="/data/c.nii.gz"), name("/d", case="b")}) == 4
    )
