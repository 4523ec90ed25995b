# SPDX-License-Identifier: Apache-2.0
"""Where an experiment stands: runs finished, running, failed and left, by task and system."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

from ..utils.locks import locked
from .jobs import FOLDERS, PRETRAINING, RUN, STORE
from .records import EXPERIMENT, RECORD, read_if_there, read_record, read_state
from .runs import FAILED, FINISHED

RUNNING, LEFT = "running", "left"


def state_of(folder: Path) -> str:
    """Return "finished", "running", "failed" or "left" for the folder of a job.

    A finished run that is being evaluated on the test cases is running.
    """
    if not folder.is_dir():
        return LEFT
    with locked(folder / "lock") as lock:
        if lock is None:
            return RUNNING
    if read_state(folder).get("failed"):
        return FAILED
    return FINISHED if (folder / RECORD).is_file() else LEFT


def print_status(output: Path) -> None:
    """Print a table of an experiment's runs, its pre-trainings, the failures with their logs, and the time left.

    Args:
        output: folder of the experiment.

    Raises:
        ValueError: when there is no experiment.
    """
    experiment = read_if_there(output / EXPERIMENT, "the resolved grid of an experiment")
    if not experiment:
        raise ValueError(f"output: no {EXPERIMENT} in {output}: give the folder of an `experiment run`")
    folders = {entry["run"]: output / FOLDERS[RUN] / entry["run"] for entry in experiment["runs"]}
    before = {entry["run"]: output / FOLDERS[PRETRAINING] / entry["run"] for entry in experiment["pretrainings"]}
    before |= {name: output / FOLDERS[STORE] / name for name in experiment["stores"]}
    states = {name: state_of(folder) for name, folder in {**before, **folders}.items()}
    print(f"{experiment['title']}: {_counts([states[name] for name in folders])}")
    users = _users(experiment)
    for name in before:
        print(f"  {name}: {states[name]}{users.get(name, '')}")
    for line in _table(experiment, states):
        print(line)
    for name, folder in {**before, **folders}.items():
        if states[name] == FAILED:
            print(f"{name}: failed: {folder / read_state(folder)['failed']}.log")
    seconds = [read_record(folder)["seconds"] for name, folder in folders.items() if states[name] == FINISHED]
    if seconds:
        left = mean(seconds) * (len(folders) - len(seconds)) / 3600
        print(
            f"{sum(seconds) / 3600:.1f} hours of runs so far, {mean(seconds):.0f} s a run; about {left:.1f} hours left"
        )


def _users(experiment: dict[str, Any]) -> dict[str, str]:
    """Name the systems of each pre-training that more than the one after which it is named start from."""
    users: dict[str, list[str]] = {}
    for run in experiment["runs"]:
        systems = users.setdefault(run["pretraining"], [])
        systems += [] if run["system"] in systems else [run["system"]]
    return {name: f" (of {', '.join(systems)})" for name, systems in users.items() if len(systems) > 1}


def _counts(states: list[str]) -> str:
    count = Counter(states)
    named = [f"{count[state]} {state}" for state in (RUNNING, FAILED) if count[state]]
    return ", ".join([f"{count[FINISHED]} of {len(states)} runs finished", *named])


def _table(experiment: dict[str, Any], states: dict[str, str]) -> list[str]:
    """Return finished runs of all, a row for each task, a column for each system."""
    systems = list(experiment["systems"])
    rows = [["", *systems]]
    for task in experiment["tasks"]:
        cells = []
        for system in systems:
            names = [run["run"] for run in experiment["runs"] if (run["task"], run["system"]) == (task, system)]
            cells.append(f"{sum(states[name] == FINISHED for name in names)}/{len(names)}")
        rows.append([task, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
