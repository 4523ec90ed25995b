# SPDX-License-Identifier: Apache-2.0
"""Splits by person: fixed, shared between tasks, and never in the pre-training."""

from __future__ import annotations

import json

import pytest
from miniature import miniature, write_miniature
from scan_files import body, write_scan

from universal_model_components.experiments.cases import (
    count_cases,
    own_datalist,
    pretraining_datalist,
    split_people,
    task_datalists,
    write_once,
)
from universal_model_components.experiments.grid import read_grid
from universal_model_components.tasks.classification_data import read_classes


def people_of(listed, split):
    return {entry["group"] for entry in listed[split]}


def test_a_split_is_fixed_and_spreads_who_is_in_both_tasks():
    members = {f"p{n}": frozenset(["ct", "mri"] if n < 12 else ["mri"]) for n in range(20)}
    counts = {"test": 5, "validation": 5}
    splits = split_people(members, counts, "open")
    assert splits == split_people(dict(reversed(members.items())), counts, "open")
    assert splits != split_people(members, counts, "other")
    for split in ("test", "validation"):
        chosen = [person for person, value in splits.items() if value == split]
        assert len(chosen) == 5
        assert sum(len(members[person]) == 2 for person in chosen) == 3
    with pytest.raises(ValueError, match="20 people to test and validate of 20"):
        split_people(members, {"test": 10, "validation": 10}, "open")


def test_tasks_of_the_same_people_share_their_split_and_pretraining_sees_none_of_the_held_out(tmp_path):
    for number in range(8):
        for kind in ("ct", "mri") if number < 5 else ("mri",):
            for part in ("images", "labels"):
                write_scan(tmp_path / kind / part / f"p_{number}.nii.gz", body((8, 8, 8)))
        write_scan(tmp_path / "t1" / f"p_{number}.nii.gz", body((8, 8, 8)))
    task = {"bundle": "b", "split": {"test": 2, "validation": 2}, "people": "us", "group": r"\d+"}
    tasks = {
        kind: {**task, "modality": kind, "images": f"{kind}/images", "labels": f"{kind}/labels"}
        for kind in ("ct", "mri")
    }
    scans = [{"images": "t1", "modality": "mri", "people": "us", "group": r"\d+"}]
    grid = miniature(tasks=tasks, pretraining={"scans": scans})
    listed = task_datalists(grid, tmp_path)
    for split, others in (("training", ("validation", "test")), ("test", ("training", "validation"))):
        for other in others:
            assert not people_of(listed["ct"], split) & people_of(listed["mri"], other)
    held = people_of(listed["mri"], "test") | people_of(listed["mri"], "validation")
    before = pretraining_datalist(grid, listed, tmp_path)
    assert len(held) == 4
    assert not people_of(before, "training") & held
    assert people_of(before, "test") == held
    assert {entry["image"].split("/")[0] for entry in before["training"]} == {"ct", "mri", "t1"}
    assert all("label" not in entry for entry in before["training"])
    own = own_datalist("ct", tasks["ct"], listed["ct"])
    assert people_of(own, "training") == people_of(listed["ct"], "training")
    assert people_of(own, "test") == people_of(listed["ct"], "test") | people_of(listed["ct"], "validation")
    assert {entry["image"].split("/")[0] for entry in own["training"]} == {"ct"}
    twice = {**listed["ct"], "training": [*listed["ct"]["training"], *listed["ct"]["test"]]}  # as a user's may be
    assert own_datalist("ct", tasks["ct"], twice) == own
    tasks["ct"]["split"] = {"test": 1, "validation": 2}
    with pytest.raises(ValueError, match=r"split: other tasks of the people 'us'"):
        task_datalists(grid, tmp_path)


def test_missing_folders_and_labels_are_named(tmp_path):
    grid = read_grid(str(write_miniature(tmp_path)))
    (tmp_path / "heart" / "labels" / "case_3.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"tasks: heart: no label .*case_3"):
        task_datalists(grid, tmp_path)
    with pytest.raises(ValueError, match=r"tasks: heart: no NIfTI file in /nowhere"):
        task_datalists(grid, tmp_path / "/nowhere")
    grid["tasks"] = {"mine": {"datalist": "none.json"}}
    with pytest.raises(ValueError, match=r"tasks: mine: datalist .*none.json cannot be read"):
        task_datalists(grid, tmp_path)


def test_a_datalist_is_written_once(tmp_path):
    write_once(tmp_path / "a.json", {"training": [1]})
    write_once(tmp_path / "a.json", {"training": [1]})
    with pytest.raises(ValueError, match="changed since the first run"):
        write_once(tmp_path / "a.json", {"training": [2]})


def test_counts_of_cases():
    asked = ("all", 3, 10, 11, 0.1, 0.25, 0.01)
    cases = [{"label": int(number < 4)} for number in range(10)]
    counts = [count_cases(cases, labels) for labels in asked]
    assert [count for count, _ in counts] == [10, 3, 10, 0, 1, 3, 1]
    assert [share for count, share in counts if count] == [1, 0.3, 1, 0.1, 0.3, 0.1]
    of_classes = [count_cases(cases, labels, classified=True) for labels in asked]
    assert of_classes == [(10, 1), (3, 0.3), (10, 1), (0, 1), (2, 0.1), (3, 0.25), (2, 0.01)]


def test_a_share_of_a_classification_counts_what_the_bundle_keeps(tmp_path):
    entries = [{"image": f"{number}.nii", "label": int(number < 6)} for number in range(13)]
    (tmp_path / "list.json").write_text(json.dumps({"training": entries}))
    for labels in (2, 3, 5, 0.1, 0.3, 0.5, "all"):
        count, share = count_cases(entries, labels, classified=True)
        kept = read_classes(str(tmp_path / "list.json"), str(tmp_path), "training", share, check_files=False)
        assert len(kept) == count, labels
