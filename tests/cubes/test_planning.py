# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from scan_files import SMALL, body, write_scan

from universal_model_components.cubes.planning import count_table, print_plan
from universal_model_components.cubes.recipe import make_recipe


def test_cases_and_cubes_are_counted_by_set_split_and_modality():
    row = {"set": "own", "split": "training", "modality": "ct", "counts": [2, 2, 4]}
    head, *lines = count_table([row, {**row, "counts": [2, 0, 0]}, {**row, "split": "validation"}]).splitlines()
    assert head.split() == ["set", "split", "modality", "cases", "large", "medium", "small"]
    assert [line.split() for line in lines] == [
        ["own", "training", "ct", "2", "4", "2", "4"],
        ["own", "validation", "ct", "1", "2", "2", "4"],
    ]


def test_a_plan_counts_bytes_memory_and_time_and_writes_nothing(tmp_path, capsys):
    cases = []
    for number in range(3):
        file = write_scan(tmp_path / f"{number}.nii", body(seed=number))
        cases.append({"case": f"{number}", "file": str(file), "modality": "ct", "set": "own", "split": "training"})
    (tmp_path / "2.nii").write_text("no image")
    before = sorted(tmp_path.iterdir())
    plan = print_plan(cases, make_recipe(SMALL, ["ct"]), 2, ["an earlier problem"])
    assert (plan["cases"], plan["cubes"]) == (2, 16)
    assert len(plan["problems"]) == 2
    assert all(plan[name] > 0 for name in ("bytes", "memory", "seconds"))
    shown = capsys.readouterr().out
    assert "plan, nothing is written" in shown
    assert "wrong: an earlier problem" in shown
    assert "16 cubes of 2 cases" in shown
    assert sorted(tmp_path.iterdir()) == before
