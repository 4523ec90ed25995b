# SPDX-License-Identifier: Apache-2.0
"""Validation curves: mean and spread over seeds, and when a system reaches what the baseline ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .results import Cell, Record


@dataclass(frozen=True)
class Band:
    """Mean and standard deviation over seeds at each step (N,)."""

    steps: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def validation_curve(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values (N,) of the key metric's validation in a record."""
    name = f"val_{record['metric']}"
    rows = [row for row in record.get("curve", []) if row.get(name) is not None and row.get("step") is not None]
    steps, values = (np.array([row[key] for row in rows], dtype=float) for key in ("step", name))
    there = np.isfinite(values)
    return steps[there], values[there]


def mean_curve(records: Mapping[int, Record]) -> Band | None:
    """Average the validation curves of a system's seeds over the steps that all of them cover; None without any."""
    curves = [curve for record in records.values() if len((curve := validation_curve(record))[0])]
    if not curves:
        return None
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    steps = steps[(steps >= first) & (steps <= last)]
    if not len(steps):
        return None
    values = np.stack([np.interp(steps, *curve) for curve in curves])
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(steps))
    return Band(steps, values.mean(axis=0), spread)


def first_step(band: Band, target: float, higher_is_better: bool = True) -> float | None:
    """The first step at which a mean curve is at least as good as the target; None when it never is."""
    reached = band.mean >= target if higher_is_better else band.mean <= target
    return float(band.steps[reached.argmax()]) if reached.any() else None


def curves_of(cell: Cell, systems: Sequence[str]) -> dict[str, Band]:
    """Mean curves of the systems that have any."""
    bands = {system: mean_curve(cell.records.get(system, {})) for system in systems}
    return {system: band for system, band in bands.items() if band is not None}
