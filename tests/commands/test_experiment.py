# SPDX-License-Identifier: Apache-2.0
"""The `experiment` command: its options and mistakes in them; tests/experiments runs one."""

from __future__ import annotations

import json

import pytest
from conftest import REPOSITORY
from miniature import write_miniature

from universal_model_components.commands.experiment import EXPERIMENT_COMMANDS, run, status
from universal_model_components.experiments.status import print_status
from universal_model_components.utils.files import write_json


def test_the_commands():
    assert set(EXPERIMENT_COMMANDS) == {"run", "status", "report"}


def test_a_plan_prints_a_script_and_runs_nothing(tmp_path, capsys):
    grid = write_miniature(tmp_path)
    run(str(grid), str(tmp_path / "out"), str(tmp_path), str(REPOSITORY / "bundles"), plan="slurm", test="true")
    script = capsys.readouterr().out
    assert script.startswith("#!/bin/bash\n")
    assert f"run {grid} --output {tmp_path / 'out'} --data {tmp_path}" in script
    assert "--test true" in script
    assert not (tmp_path / "out" / "runs").exists()
    status(str(tmp_path / "out"))
    shown = capsys.readouterr().out
    assert "0 of 4 runs finished" in shown
    assert "heart  0/2      0/2" in shown
    for entry in json.loads((tmp_path / "out" / "experiment.json").read_text())["runs"]:
        write_json(tmp_path / "out" / "runs" / entry["run"] / "record.json", {"cases": {"validation": {}}})
    with pytest.raises(ValueError, match="plan: nothing is left to run"):
        run(str(grid), str(tmp_path / "out"), str(tmp_path), str(REPOSITORY / "bundles"), plan="slurm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        [{"plan": "pbs"}, "plan: 'pbs'"],
        [{"jobs": 0}, "jobs: 0"],
        [{"only": "all"}, "only: 'all'"],
        [{"test": "maybe"}, "test: 'maybe'"],
    ],
)
def test_mistakes_in_options_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run("open", str(tmp_path), **options)


def test_a_folder_without_an_experiment_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"output: no experiment\.json"):
        print_status(tmp_path)
