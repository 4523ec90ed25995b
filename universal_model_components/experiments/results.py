# SPDX-License-Identifier: Apache-2.0
"""What the runs of an experiment left: `experiment.json`, finished runs' records and pictures; the paper's numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from .records import EXPERIMENT, read_json, read_record
from .scoring import Cases, case_scores

Record = dict[str, Any]
PICTURE = "label_noise.png"  # in the output folder of a training with noisy masks


def paper_table(name: str) -> dict[str, Any]:
    """Return numbers of the paper: "table_3", "table_4" or "table_5".

    `rows` is system → task → mean and standard deviation over five trials, in percent; `systems` and `tasks` hold the
    names of the table's rows and columns.

    Raises:
        ValueError: when there is no such table.
    """
    folder = files("universal_model_components.experiments") / "paper"
    names = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    if name not in names:
        raise ValueError(f"paper: no table {name!r}, expected one of {', '.join(names)}")
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Cell:
    """One task at one number of labels and one label noise: the finished runs of all systems.

    Args:
        task: name.
        labels: "all", "3 cases" or "10 %".
        noise: of the training labels: the largest radius of erosion and dilation in mm; 0 is none.
        count: number of training cases; NaN before the first run.
        records: system → seed → record.
        planned: system → seeds of the grid.
    """

    task: str
    labels: str
    noise: float
    count: float = np.nan
    records: dict[str, dict[int, Record]] = field(default_factory=dict)
    planned: dict[str, list[int]] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """Labels and noise in words."""
        return f"{self.labels}, label noise {self.noise:g} mm" if self.noise else self.labels

    @property
    def finished(self) -> list[Record]:
        """Records of all systems."""
        return [record for runs in self.records.values() for record in runs.values()]

    @property
    def split(self) -> str:
        """The cases that are compared: "test" where every finished run was tested, otherwise "validation"."""
        return "test" if all(record["cases"].get("test") for record in self.finished) else "validation"

    @property
    def metric(self) -> str:
        """Key metric, such as "iou"; empty before the first run."""
        return self.finished[0]["metric"] if self.finished else ""

    @property
    def higher_is_better(self) -> bool:
        """Whether a high score is a good one."""
        return all(record.get("higher_is_better", True) for record in self.finished)

    def values(self, systems: Sequence[str]) -> tuple[np.ndarray, Cases]:
        """Values of the cases and seeds that all of the systems have, and what these cases are.

        Left out are cases that no seed defines for all systems, and samples that a classification could not score.

        Shape:
            values (K, S, C) of K systems.
        """
        seeds = sorted(set.intersection(*(set(self.records.get(system, {})) for system in systems)))
        tables = [[self.records[system][seed]["cases"].get(self.split, {}) for seed in seeds] for system in systems]
        found = [table for row in tables for table in row]
        names = sorted(set.intersection(*map(set, found))) if found else []
        names = [name for name in names if self._is_defined([[table[name] for table in row] for row in tables])]
        key = "probability" if self.metric == "auc" else self.metric
        values = np.array([[[_number(table[n].get(key)) for n in names] for table in row] for row in tables])
        codes: dict[str, int] = {}  # persons in the order of their first cases
        people = [codes.setdefault(_person(name, found), len(codes)) for name in names]
        labels = np.array([found[0][name]["label"] for name in names]) if self.metric == "auc" else None
        return values.reshape(len(systems), len(seeds), len(names)), Cases(np.array(people, int), labels)

    def _is_defined(self, case: Sequence[Sequence[Record]]) -> bool:
        """Whether a case, as each system (K) has it in each seed (S), can be compared."""
        if self.metric == "auc":
            labels = {run["label"] for runs in case for run in runs}
            return len(labels) == 1 and all(run["probability"] is not None for runs in case for run in runs)
        defined = [[run.get(self.metric) is not None for run in runs] for runs in case]
        return bool(np.array(defined).all(axis=0).any())

    def scores(self, system: str) -> np.ndarray:
        """Score of each finished run of a system (S,), NaN where no case defines it."""
        values, cases = self.values([system])
        return case_scores(values[0], cases) if values.size else np.full(values.shape[1], np.nan)


def _person(name: str, found: Sequence[Mapping[str, Record]]) -> str:
    """Return the person that a case shows; records of earlier versions lack it, and name a scan's samples by number."""
    return next((table[name]["group"] for table in found if "group" in table[name]), name.partition("#")[0])


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


@dataclass(frozen=True)
class Results:
    """An experiment and what is finished of it.

    Args:
        grid: content of `experiment.json`.
        records: run → record.
        pretrainings: run of the pre-training → record.
        cells: in the order of tasks, labels and noise.
        paper: the paper's numbers, empty where the grid names none.
        pictures: run → picture of its noisy masks; without noise, and in older runs, there is none.
    """

    grid: dict[str, Any]
    records: dict[str, Record]
    pretrainings: dict[str, Record]
    cells: list[Cell]
    paper: dict[str, Any]
    pictures: dict[str, Path] = field(default_factory=dict)

    @property
    def baseline(self) -> str:
        """The system that the others are compared with."""
        return self.grid.get("baseline", "scratch")

    @property
    def systems(self) -> list[str]:
        """In the grid's order, the baseline first."""
        others = [name for name in self.grid["systems"] if name != self.baseline]
        return [self.baseline, *others] if self.baseline in self.grid["systems"] else others


def read_results(output_dir: Path) -> Results:
    """Read an experiment's folder: `experiment.json`, `runs/*/record.json` and `pretraining/*/record.json`.

    Pictures in `runs/*/output/` are found, and read by those who show them.

    Raises:
        ValueError: when a file cannot be read; the message names it.
    """
    grid = read_json(output_dir / EXPERIMENT, "the resolved grid of an experiment")
    missing = [key for key in ("name", "tasks", "systems", "runs") if key not in grid]
    if missing:
        raise ValueError(f"{output_dir / EXPERIMENT}: no {missing[0]!r}, expected a resolved grid")
    runs = _read_records(output_dir / "runs", [run["run"] for run in grid["runs"]])
    pretrainings = _read_records(output_dir / "pretraining", [run["run"] for run in grid.get("pretrainings", [])])
    paper = grid.get("paper") or {}
    paper = paper_table(paper) if isinstance(paper, str) else paper
    pictures = {name: output_dir / "runs" / name / "output" / PICTURE for name in runs}
    found = {name: file for name, file in pictures.items() if runs[name].get("label_noise") and file.is_file()}
    return Results(grid, runs, pretrainings, _cells(grid, runs), paper, found)


def _read_records(folder: Path, names: Sequence[str]) -> dict[str, Record]:
    return {name: record for name in names if (record := read_record(folder / name))}


def labels_in_words(run: Record, grid: Record) -> str:
    """ "all", "3 cases" where the grid counts cases, otherwise the share, such as "10 %"."""
    fraction, labels, asked = run.get("label_fraction"), run.get("labels"), grid.get("labels", [])
    if labels in (None, "all") or (fraction is not None and fraction >= 1):
        return "all"
    if run.get("asked", "all") != "all":  # it is not in experiments of earlier versions
        asked, fraction = [run["asked"]], run["asked"] if isinstance(run["asked"], float) else None
    if fraction is None or any(isinstance(number, int) and number == labels for number in asked):
        return f"{labels} cases"
    # the share of so few cases may be far from the one that was asked for: 10 % of 16 cases are 2
    share = min([n for n in asked if isinstance(n, float)], key=lambda n: abs(n - fraction), default=fraction)
    return f"{100 * share:.3g} %"


def _cells(grid: Record, records: dict[str, Record]) -> list[Cell]:
    """Sort the grid's runs, finished or not, into cells."""
    runs: dict[tuple[str, str, float], list[Record]] = {}
    for run in grid["runs"]:
        key = run["task"], labels_in_words(run, grid), float(run.get("label_noise") or 0)
        runs.setdefault(key, []).append(run)
    cells = []
    for (task, labels, noise), entries in runs.items():
        counts = [records.get(run["run"], run).get("labels") for run in entries]
        count = next((float(n) for n in counts if isinstance(n, int | float)), np.nan)
        cell = Cell(task, labels, noise, count)
        for run in entries:
            cell.planned.setdefault(run["system"], []).append(run["seed"])
            if run["run"] in records:
                cell.records.setdefault(run["system"], {})[run["seed"]] = records[run["run"]]
        cells.append(cell)
    tasks = list(grid["tasks"])
    return sorted(
        cells, key=lambda c: (tasks.index(c.task), c.labels == "all", np.nan_to_num(c.count, nan=np.inf), c.noise)
    )
