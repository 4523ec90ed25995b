# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import random

import pytest
from scan_files import body, write_scan

from universal_model_components.datalists.inspection import inspect_files
from universal_model_components.datalists.splits import (
    assign,
    check_fraction,
    draw_test,
    hash_order,
    split_cases,
    strata_of,
    without_copies,
)


def members(**sizes):
    return {f"{name}{n}": {name} for name, size in sizes.items() for n in range(size)}


def cases(groups):
    return [
        {"group": group, "stratum": min(names), "case": f"{group}/{n}"}
        for group, names in groups.items()
        for n in range(2)
    ]


def test_order_is_that_of_the_hashes():
    names = [f"patient {n}" for n in range(50)]
    shuffled = random.Random(0).sample(names, len(names))
    expected = sorted((hashlib.sha256(f"3:{name}".encode()).hexdigest(), name) for name in names)
    assert hash_order(shuffled, 3) == [name for _, name in expected]
    assert hash_order(names, 4) != hash_order(names, 3)


@pytest.mark.parametrize(
    ("sizes", "wanted", "expected"),
    [
        ({"a": 47, "b": 56}, {"a": (10, 47), "b": (11, 56)}, {"a": 10, "b": 11}),  # as many as the paper's
        ({"a": 94, "b": 28}, {"a": (10, 47), "b": (11, 56)}, {"a": 20, "b": 6}),  # the same share, rounded
        ({"a": 2, "b": 1}, {"a": (10, 47), "b": (11, 56)}, {"a": 1, "b": 0}),  # at least one, never all
        ({"a": 30}, {"a": (0, 30)}, {"a": 0}),
        ({"a": 30}, {"a": (0, 31)}, {"a": 0}),
        ({}, {"a": (4, 20)}, {"a": 0}),
    ],
)
def test_test_groups_of_each_class(sizes, wanted, expected):
    chosen = draw_test(members(**sizes), wanted, 0)
    assert {name: sum(group.startswith(name) for group in chosen) for name in expected} == expected


def test_one_patient_more_moves_at_most_one_other():
    before = draw_test(members(a=100), {"a": (20, 100)}, 0)
    after = draw_test(members(a=101), {"a": (20, 100)}, 0)
    assert len(before - after) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_validation_is_drawn_from_the_others_class_by_class(seed):
    groups = members(a=20, b=10)
    test = draw_test(groups, {"a": (4, 20), "b": (2, 10)}, seed)
    splits = assign(cases(groups), test, 0.25, seed)
    parts = {split: strata_of(listed) for split, listed in splits.items()}
    assert set(parts["test"]) == test
    assert not set(parts["training"]) & set(parts["validation"])
    assert [sum(names == {"a"} for names in parts["validation"].values())] == [4]
    assert [sum(names == {"b"} for names in parts["validation"].values())] == [2]
    assert sum(map(len, splits.values())) == 60
    other = assign(cases(groups)[::-1], test, 0.25, seed)
    assert strata_of(other["validation"]) == parts["validation"]
    given = assign(cases(groups), test, 0.25, seed, validation={"a0"} - test)
    assert set(strata_of(given["validation"])) == {"a0"} - test


@pytest.mark.slow
def test_files_are_read_alike_in_several_processes(tmp_path):
    jobs = []
    for n in range(4):
        jobs.append({"file": str(write_scan(tmp_path / f"{n}.nii.gz", body((12, 11, 10), seed=n))), "kind": "image"})
    (tmp_path / "broken.nii").write_text("no image")
    jobs.append({"file": str(tmp_path / "broken.nii"), "kind": "image"})
    assert inspect_files(jobs, tmp_path / "c.jsonl", 2) == inspect_files(jobs, None, 0)
    assert inspect_files(jobs, tmp_path / "c.jsonl", 0) == inspect_files(jobs, None, 0)


@pytest.mark.parametrize("fraction", [0, 0.5, 0.99])
def test_a_fraction_is_from_0_to_below_1(fraction):
    assert check_fraction(fraction, "key") == fraction
    for wrong in (1, -0.1, "0.5", True, None):
        with pytest.raises(ValueError, match=f"^key: {wrong!r} is not from 0 to below 1$"):
            check_fraction(wrong, "key")


def test_cases_of_one_group_stay_together():
    listed = [{"case": f"{n}/{k}", "group": n, "modality": "ct"} for n in range(5) for k in range(2)]
    splits = split_cases(listed, 0.4, 0)
    assert {name: len(part) for name, part in splits.items()} == {"training": 6, "validation": 4}
    assert not {case["group"] for case in splits["training"]} & {case["group"] for case in splits["validation"]}


def test_a_copy_of_a_held_out_scan_is_left_out_of_training():
    def scan(name, split, voxels):
        return {"image": name, "split": split, "fingerprint": {"voxels": voxels, "places": "p"}}

    cases = [scan("a", "training", "1"), scan("b", "test", "1"), scan("c", "training", "2"), scan("d", "training", "2")]
    kept, problems = without_copies(cases)
    assert [case["image"] for case in kept] == ["b", "c", "d"]
    (problem,) = problems
    assert problem.startswith("a: training case with the voxels of b in test: left out")
