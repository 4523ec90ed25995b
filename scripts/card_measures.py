# SPDX-License-Identifier: Apache-2.0
"""What a model card says of an evaluation: its measures, each with an interval and over how many."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from universal_model_components.utils.files import write_json, write_text

OF_A_MACHINE = ("weights", "versions", "seconds", "pictures")  # in evaluation.json: not of the model
BASELINES = ("corrupted_mse", "training_mean_mse")  # errors of no model, to compare a restoration with
LEVEL = 0.95
HIGHEST = {"iou": 1.0, "dice": 1.0}


def take_evaluation(source: Path, target: Path) -> None:
    """Copy an evaluation's two files, without what is of one machine."""
    summary = json.loads((source / "evaluation.json").read_text(encoding="utf-8"))
    table = (source / "evaluation.csv").read_text(encoding="utf-8")
    write_text(target / "evaluation.csv", table)
    write_json(target / "evaluation.json", {key: value for key, value in summary.items() if key not in OF_A_MACHINE})


def read_measures(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what an evaluation measured: measure, of what, value, interval (or None), and over how many.

    A mean over cases has Student's interval; an AUC has that of its evaluation, a bootstrap over patients.
    """
    summary = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    split = summary["split"]
    if "auc" in summary:
        over = f"{summary['samples']} samples of {summary['patients']} patients"
        for name in ("auc", "accuracy", "sensitivity", "specificity"):
            interval = summary.get(f"{name}_interval")
            yield {"measure": name, "of": split, "value": summary[name], "interval": interval, "over": over}
        return
    with (folder / "evaluation.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = ("restored_mse", *BASELINES, "psnr") if "restoration" in summary else ("iou", "dice", "hd95_mm")
    for kind in dict.fromkeys(row.get("kind", "") for row in rows):
        for name in names:
            values = [float(row[name]) for row in rows if row.get("kind", "") == kind and row.get(name)]
            if name in BASELINES and not values:
                continue
            of = f"{split}, corruption: {kind}" if kind else split
            yield {
                "measure": name,
                "of": of,
                **mean_and_interval(values, HIGHEST.get(name, math.inf)),
                "over": f"{len(values)} cases",
            }


def mean_and_interval(values: Sequence[float], highest: float = math.inf) -> dict[str, Any]:
    """Return the mean and its Student's interval within the measure's range, which begins at zero.

    Fewer than two cases have no interval.
    """
    if not values:
        return {"value": None, "interval": None}
    if len(values) < 2:
        return {"value": values[0], "interval": None}
    half = float(stats.sem(values) * stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    mean = float(np.mean(values))
    return {"value": mean, "interval": [max(0.0, mean - half), min(mean + half, highest)]}
