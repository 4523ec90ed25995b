# SPDX-License-Identifier: Apache-2.0
"""The record of a finished job: what the bundle left in its folder, in one JSON file."""

from __future__ import annotations

import csv
import functools
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..utils.versions import versions

EXPERIMENT, RECORD, STATE = "experiment.json", "record.json", "state.json"
CASE_METRICS = {"iou": ("iou", "dice", "mean_iou", "hd95_mm"), "auc": ("probability", "label")}
PROBES = ("val_modality_accuracy", "val_scale_accuracy", "val_restoration", "probe_auc", "probe_auc_untrained")


def read_json(file: Path, expected: str) -> dict[str, Any]:
    """Read an object from a JSON file.

    Raises:
        ValueError: when the file is missing or holds something else; the message names it and what was expected.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read ({error}), expected {expected}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds a {type(content).__name__}, expected {expected}")
    return content


def read_if_there(file: Path, expected: str) -> dict[str, Any]:
    """Read as `read_json`; an empty object where there is no file."""
    return read_json(file, expected) if file.is_file() else {}


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a job, empty before it has finished."""
    return read_if_there(folder / RECORD, "the record of a finished run")


def read_state(folder: Path) -> dict[str, Any]:
    """Return how far a job has come: the steps that are "done", the one that "failed", seconds and memory."""
    return read_if_there(folder / STATE, "the state of a run")


def read_curve(file: Path) -> list[dict[str, float]]:
    """Return the rows of losses.csv, numbers alone; a value that is missing in a row is left out."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(stream)]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(value) if text is not None and text.isdigit() else value


def read_cases(folder: Path, metric: str) -> tuple[dict[str, Any], dict[str, float | None]]:
    """Read what an evaluation left.

    Args:
        folder: with evaluation.csv and evaluation.json.
        metric: "iou" of a segmentation, "auc" of a classification.

    Returns:
        The metrics of each case that could be read (a sample that repeats a case's name gets a number) and the person
        ("group") that it shows, and the summary of all.

    Raises:
        ValueError: when the evaluation has no such metric.
    """
    cases: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    with (folder / "evaluation.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            seen[row["case"]] += 1  # within the case: other runs may have been unable to read other cases
            name = row["case"] if seen[row["case"]] == 1 else f"{row['case']}#{seen[row['case']] - 1}"
            values = {key: _number(row.get(key)) for key in CASE_METRICS[metric]}
            if metric != "auc" or None not in values.values():  # the row of a file that cannot be read is empty
                cases[name] = {**values, "group": row.get("group") or row["case"]}
    summary = read_json(folder / "evaluation.json", "an evaluation")
    if metric not in summary:
        given = [name for name in CASE_METRICS if name in summary]
        raise ValueError(f'{folder / "evaluation.json"}: no {metric!r}: give the task "metric": one of {given}')
    if metric == "auc":
        return cases, {metric: summary[metric]}
    return cases, {key: summary[key]["mean"] for key in CASE_METRICS[metric]}


def commit_of(bundles: Path) -> str | None:
    """Return the commit of the code as it is now, None where it is not in a repository, or there is no git."""
    command = ["git", "-C", str(bundles), "describe", "--always", "--dirty"]
    try:
        git = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return git.stdout.strip() or None


@functools.cache
def _gpu_name(device: str) -> str:
    """Ask for a GPU's model in another process: a context of this one could shut its jobs out of the GPU."""
    command = [sys.executable, "-c", f"import torch; print(torch.cuda.get_device_name({device!r}))"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() or "unknown"
    except subprocess.TimeoutExpired:
        return "unknown"


def origin_of(job_settings: Mapping[str, Any], commits: Sequence[str]) -> dict[str, Any]:
    """Return what a record says about where it was made: versions, and the device, a GPU with its model's name.

    Args:
        job_settings: of the job.
        commits: of the code at its start and, where they were others, each time that it was resumed.
    """
    cuda = torch.cuda.is_available()
    device = str(job_settings.get("device") or ("cuda:0" if cuda else "cpu"))
    device += f" ({_gpu_name(device)})" if cuda and device.startswith("cuda") else ""
    return {"versions": {**versions(), "commit": ", ".join(commits) or None}, "device": device}


def run_record(folder: Path, facts: Mapping[str, Any], splits: tuple[str, ...]) -> dict[str, Any]:
    """Return what a target run found: metrics of each case of the evaluated splits, summaries, the training's curve."""
    found = {split: read_cases(folder / split, facts["metric"]) for split in splits}
    return {
        **facts,
        "cases": {split: cases for split, (cases, _) in found.items()},
        "summary": {split: summary for split, (_, summary) in found.items()},
        "curve": read_curve(folder / "output" / "losses.csv"),
    }


def pretraining_record(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a pre-training found: its curve, and its probes, None for what it lacks.

    Probes are those of the last validation, and where the pre-training was evaluated the balanced accuracy of linear
    read-outs of clean cubes, for each level of the encoder, such as `linear_modality_level_4`.
    """
    curve = read_curve(folder / "output" / "losses.csv")
    probes = {name: next((row[name] for row in reversed(curve) if name in row), None) for name in PROBES}
    evaluation = read_if_there(folder / "evaluation" / "evaluation.json", "an evaluation")
    for name, probe in evaluation.get("probes", {}).items():
        levels = probe.get("levels", {})
        probes |= {f"linear_{name}_level_{level}": values["clean"] for level, values in levels.items()}
    return {**facts, "curve": curve, "probes": probes}
