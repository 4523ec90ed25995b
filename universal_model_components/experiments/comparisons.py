# SPDX-License-Identifier: Apache-2.0
"""Each system against the baseline: in every cell of the grid, and over all tasks of a setting."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .results import Cell, Results
from .scoring import case_scores
from .statistics import (
    REPEATS,
    Difference,
    Ranks,
    holm,
    paired_difference,
    pool,
    rank_systems,
    sign_flip_test,
)

ALL_TASKS = "all tasks"
TOO_FEW = "too few runs"


@dataclass(frozen=True)
class Comparison:
    """One system against the baseline; a gain is positive where the system is better.

    Args:
        task: or `ALL_TASKS`.
        labels: as `Cell.labels`.
        noise: as `Cell.noise`.
        system: that is compared.
        split: of the cases.
        seeds: pairs of runs.
        cases: of each run.
        people: that the cases show.
        difference: the gain.
        low: end of its 95 % interval.
        high: end of its 95 % interval.
        p_seeds: p value by exchange of the two runs of a seed.
        p_cases: p value by exchange of the two systems on the cases of a person, the trained networks as they are; None
            for AUC.
        holm_seeds: `p_seeds`, adjusted for all comparisons.
        holm_cases: `p_cases`, adjusted likewise.
        fewest: pairs of runs of the task that has the fewest; None: `seeds`, of a single task.
        tasks: how many were averaged, and how many the grid has.
    """

    task: str
    labels: str
    noise: float
    system: str
    split: str
    seeds: int
    cases: int
    people: int
    difference: Difference
    low: float
    high: float
    p_seeds: float | None
    p_cases: float | None
    holm_seeds: float | None = None
    holm_cases: float | None = None
    fewest: int | None = None
    tasks: tuple[int, int] = (1, 1)

    @property
    def setting(self) -> str:
        """Labels and noise in words."""
        return Cell(self.task, self.labels, self.noise).setting

    @property
    def verdict(self) -> str:
        """What the interval says; one seed of a task is no sample of its trainings, nor one person of its cases."""
        if np.isnan(self.low) or (self.seeds if self.fewest is None else self.fewest) < 2 or self.people < 2:
            return TOO_FEW
        return "helps" if self.low > 0 else "hurts" if self.high < 0 else "does not help here"


def compare(cell: Cell, system: str, baseline: str, repeats: int = REPEATS) -> Comparison | None:
    """Compare a system with the baseline on the seeds and cases that both have; None where there are none."""
    values, cases = cell.values([system, baseline])
    if not values.size:
        return None
    scores = np.stack([case_scores(runs, cases) for runs in values])
    values = values[:, np.isfinite(scores).all(axis=0)]
    if not values.size:
        return None
    better, worse = values if cell.higher_is_better else values[::-1]
    name = f"{cell.task} {cell.setting}"  # tasks are drawn independently of each other
    difference = paired_difference(better, worse, cases, repeats, seed=zlib.crc32(name.encode()))
    return Comparison(
        cell.task,
        cell.labels,
        cell.noise,
        system,
        cell.split,
        values.shape[1],
        values.shape[2],
        cases.persons,
        difference,
        *difference.interval(),
        _p_value(difference.by_seed),
        _p_value(difference.by_person),
    )


def _p_value(differences: np.ndarray | None) -> float | None:
    return sign_flip_test(differences) if differences is not None and len(differences) > 1 else None


def compare_all(results: Results, repeats: int = REPEATS) -> list[Comparison]:
    """Compare every system in every cell where it and the baseline ran; p values are adjusted for all of them."""
    pairs = [(cell, system) for cell in results.cells for system in results.systems if system != results.baseline]
    found = (compare(cell, system, results.baseline, repeats) for cell, system in pairs)
    return _adjust([comparison for comparison in found if comparison is not None])


def compare_over_tasks(results: Results, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Average the gains over tasks, for each setting and system that was compared in all tasks of the setting."""
    pooled = []
    for labels, noise in settings(results.cells):
        tasks = [cell.task for cell in results.cells if (cell.labels, cell.noise) == (labels, noise)]
        for system in results.systems:
            parts = [c for c in comparisons if (c.labels, c.noise, c.system) == (labels, noise, system)]
            if len(tasks) > 1 and len(parts) == len(tasks):
                pooled.append(_pool(parts, len(results.grid["tasks"])))
    return _adjust(pooled)


def _pool(parts: Sequence[Comparison], tasks: int) -> Comparison:
    """Average the comparisons of a system in one setting, each of another of the grid's tasks."""
    difference = pool([part.difference for part in parts])
    low, high = difference.interval()
    return replace(
        parts[0],
        task=ALL_TASKS,
        split=" and ".join(sorted({part.split for part in parts})),
        seeds=sum(part.seeds for part in parts),
        cases=sum(part.cases for part in parts),
        people=sum(part.people for part in parts),
        difference=difference,
        low=low,
        high=high,
        p_seeds=sign_flip_test(difference.by_seed),
        p_cases=None,
        fewest=min(part.seeds for part in parts),
        tasks=(len(parts), tasks),
    )


def _adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    by_seeds, by_cases = (holm([getattr(c, p) for c in comparisons]) for p in ("p_seeds", "p_cases"))
    return [
        replace(comparison, holm_seeds=seeds, holm_cases=cases)
        for comparison, seeds, cases in zip(comparisons, by_seeds, by_cases, strict=True)
    ]


def settings(cells: Sequence[Cell]) -> list[tuple[str, float]]:
    """The pairs of labels and noise in the grid, in the order of the cells."""
    return list(dict.fromkeys((cell.labels, cell.noise) for cell in cells))


def rank(results: Results, cells: Sequence[Cell], repeats: int = REPEATS) -> tuple[list[str], Ranks | None, int]:
    """Rank the systems that have runs, over the cells in which all of them have.

    Returns:
        the systems, their ranks (None without such a cell), and the number of cells.
    """
    systems = [system for system in results.systems if any(cell.records.get(system) for cell in cells)]
    tables, higher = [], []
    for cell in cells:
        if len(systems) < 2 or not all(cell.records.get(system) for system in systems):
            continue
        values, cases = cell.values(systems)
        if cases.labels is None:
            values = np.where(np.isnan(values).any(axis=0), np.nan, values)
        if values.size and np.isfinite([case_scores(runs, cases) for runs in values]).all():
            tables.append((values, cases))
            higher.append(cell.higher_is_better)
    return systems, rank_systems(tables, higher, repeats) if tables else None, len(tables)
