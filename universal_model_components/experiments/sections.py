# SPDX-License-Identifier: Apache-2.0
"""The report's sections about scores and comparisons; what was not run is said to be so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..figures.bands import Estimate, draw_intervals
from .blocks import Block, Chart, Section, Table, Verdict, Words
from .comparisons import TOO_FEW, Comparison, rank, settings
from .results import Cell, Results
from .statistics import LEVEL, REPEATS

NOT_RUN = "not run"
METRICS = {"iou": "IoU", "auc": "AUC"}


def title_of(results: Results, kind: str, name: str) -> str:
    """Title of a task or system ("tasks", "systems") in the grid, its name where it has none."""
    entries = results.grid[kind]
    entry = entries.get(name) if isinstance(entries, Mapping) else None
    return str(entry.get("title", name)) if isinstance(entry, Mapping) else name


def percent(value: float, digits: int = 2) -> str:
    """A score in percent, as the paper prints them."""
    return f"{100 * value:.{digits}f}" if math.isfinite(value) else "–"


def in_words(setting: str) -> str:
    """A cell's labels and noise as a heading."""
    return setting.replace("all", "all training cases", 1) if setting.startswith("all") else f"{setting} to train on"


def overview(results: Results, pooled: Sequence[Comparison], comparisons: Sequence[Comparison]) -> Section:
    """What was run, what is shown, and how many comparisons came out which way."""
    planned, done = len(results.grid["runs"]), len(results.records)
    splits = sorted({cell.split for cell in results.cells if cell.finished})
    shown = f"The scores are of {' and '.join(splits)} cases." if splits else "No run is finished: there are no scores."
    if len(splits) > 1:
        shown += " The tables name which: test cases where all finished runs of a task and setting were tested."
    blocks: list[Block] = [Words(f"{done} of {planned} runs are finished. {shown}")]
    base = title_of(results, "systems", results.baseline)
    for name, found in (("single tasks", comparisons), ("all tasks of a setting together", pooled)):
        counts = {verdict: [c.verdict for c in found].count(verdict) for verdict in ("helps", "hurts", TOO_FEW)}
        rest = len(found) - sum(counts.values())
        words = (
            f"Compared with “{base}” on {name}: {counts['helps']} of {len(found)} comparisons help, {counts['hurts']} "
            f"hurt, {rest} show no help" + (f", too few runs for {counts[TOO_FEW]}." if counts[TOO_FEW] else ".")
        )
        if found:
            good = None if counts["helps"] == counts["hurts"] else counts["helps"] > counts["hurts"]
            blocks.append(Verdict(words, good))
    return Section("overview", "What was found", blocks)


def scores(results: Results) -> Section:
    """Mean and standard deviation over seeds for each system and task, a table for each setting, beside the paper's."""
    blocks: list[Block] = [
        Words(
            "Mean ± standard deviation over seeds, in percent. The score of a run is the mean over its cases, or AUC."
        )
    ]
    if results.paper:
        table = f"Table {results.paper['table']}" if "table" in results.paper else "the paper"
        blocks.append(
            Words(f"Columns “paper” are printed in {table} of the paper, for other data and full-size networks.")
        )
    for labels, noise in settings(results.cells):
        cells = [cell for cell in results.cells if (cell.labels, cell.noise) == (labels, noise)]
        head, columns = ["system"], []
        for cell in cells:
            numbers = {system: found.get(cell.task) for system, found in results.paper.get("rows", {}).items()}
            head.append(_column(results, cell))
            columns.append([_score(cell, system) for system in results.systems])
            if _is_printed(results, cell) and any(numbers.get(system) for system in results.systems):
                head.append("paper")
                columns.append([_printed(numbers.get(system)) for system in results.systems])
        names = [title_of(results, "systems", system) for system in results.systems]
        rows = [[name, *cells] for name, *cells in zip(names, *columns, strict=True)]
        blocks.append(Table(f"Scores with {in_words(cells[0].setting)}", head, rows))
    return Section("scores", "Scores", blocks)


def _is_printed(results: Results, cell: Cell) -> bool:
    """Whether the paper's table is about the cell's setting: all labels, clean or noisy."""
    return cell.labels == "all" and bool(cell.noise) == bool(results.paper.get("label_noise"))


def _column(results: Results, cell: Cell) -> str:
    metric = METRICS.get(cell.metric, cell.metric)
    return title_of(results, "tasks", cell.task) + (f", {metric}, {cell.split}" if metric else "")


def _score(cell: Cell, system: str) -> str:
    found = cell.scores(system)
    planned = len(cell.planned.get(system, []))
    if not len(found):
        return NOT_RUN
    found = found[np.isfinite(found)]
    if not len(found):
        return "not defined"
    spread = f" ± {percent(found.std(ddof=1))}" if len(found) > 1 else ""
    return percent(found.mean()) + spread + (f" ({len(found)} of {planned} seeds)" if len(found) < planned else "")


def _printed(number: Mapping[str, float] | None) -> str:
    return f"{number['mean']:.2f} ± {number['std']:.2f}" if number else "–"


def differences(results: Results, pooled: Sequence[Comparison], comparisons: Sequence[Comparison]) -> Section:
    """Gains over the baseline with their intervals and tests."""
    base = title_of(results, "systems", results.baseline)
    blocks: list[Block] = [
        Words(
            f"Gain over “{base}” in percentage points, from pairs of runs with the same seed on the same cases; a "
            f"positive gain is better. The {100 * LEVEL:g} % intervals are Student's t times a bootstrap standard "
            "error that draws seeds and cases again, the cases of a person together. “Helps” and “hurts” are intervals "
            "that exclude zero, where each task has two pairs of runs or more. Tasks are drawn independently, also "
            "where they show the same people. Runs of a system on a task share one "
            "pre-training: how much another one would differ is not in the intervals."
        ),
        Words(
            "p (seeds): sign-flip test that exchanges the two runs of a seed; n pairs give no p below 2/2ⁿ. p (cases): "
            "the same for the people that the cases show, which speaks about these trained networks and not about "
            "training again; AUC has none. "
            "In brackets: adjusted by Holm's method for all comparisons in the table's group."
        ),
    ]
    if not comparisons:
        return Section("differences", "Gains over the baseline", [*blocks, Words(f"Comparisons: {NOT_RUN}.")])
    for name, found in (("pooled", pooled), ("tasks", comparisons)):
        groups = list(dict.fromkeys(c.task for c in found))
        panels = [(_task(results, task), [_estimate(results, c) for c in found if c.task == task]) for task in groups]
        if panels:
            svg = draw_intervals(panels, f"gains_{name}", "gain, percentage points")
            blocks.append(Chart(f"gains_{name}", svg, _caption(results, found)))
            blocks += [_gains(results, task, [c for c in found if c.task == task]) for task in groups]
    return Section("differences", "Gains over the baseline", blocks)


def _caption(results: Results, found: Sequence[Comparison]) -> str:
    """What a figure of gains shows: metrics, cases, and how many pairs of runs."""
    metrics = list(dict.fromkeys(METRICS.get(cell.metric, cell.metric) for cell in results.cells if cell.finished))
    splits, seeds = sorted({split for c in found for split in c.split.split(" and ")}), sorted({c.seeds for c in found})
    pairs = f"{seeds[0]} to {seeds[-1]} pairs" if len(seeds) > 1 else f"{seeds[0]} pair{'s' * (seeds[0] > 1)}"
    return (
        f"Gain in {' or '.join(metrics)} over “{title_of(results, 'systems', results.baseline)}” on "
        f"{' and '.join(splits)} cases. Dots are means of {pairs} of runs with the same seed, lines "
        f"{100 * LEVEL:g} % intervals: green helps, red hurts, blue includes zero, or has too few runs."
    )


def _task(results: Results, task: str) -> str:
    return title_of(results, "tasks", task)


def _estimate(results: Results, c: Comparison) -> Estimate:
    name = f"{title_of(results, 'systems', c.system)}, {c.setting}"
    return Estimate(name, 100 * c.difference.estimate, 100 * c.low, 100 * c.high, c.verdict != TOO_FEW)


def _gains(results: Results, task: str, found: Sequence[Comparison]) -> Table:
    pooled = any(c.tasks[1] > 1 for c in found)
    head = ["system", "labels", "finding", "gain", "95 % interval", "p (seeds)", "p (cases)"]
    head += ["pairs", "cases", "people", "split", *(["tasks"] if pooled else [])]
    rows = [
        [
            title_of(results, "systems", c.system),
            c.setting,
            c.verdict,
            f"{100 * c.difference.estimate:+.2f}",
            f"{100 * c.low:+.2f} to {100 * c.high:+.2f}" if math.isfinite(c.low) else "–",
            _p_value(c.p_seeds, c.holm_seeds),
            _p_value(c.p_cases, c.holm_cases),
            str(c.seeds),
            str(c.cases),
            str(c.people),
            c.split,
            *([f"{c.tasks[0]} of {c.tasks[1]}"] if pooled else []),
        ]
        for c in found
    ]
    splits = sorted({split for c in found for split in c.split.split(" and ")})
    return Table(f"{_task(results, task)}, {' and '.join(splits)} cases", head, rows, words=3)


def _p_value(p: float | None, adjusted: float | None) -> str:
    return "–" if p is None or adjusted is None else f"{p:.2g} ({adjusted:.2g})"


def ranks(results: Results, repeats: int = REPEATS) -> Section:
    """Mean ranks of the systems over tasks, for each setting and for all together."""
    groups: dict[str, list[Cell]] = {}
    for cell in results.cells:
        groups.setdefault(in_words(cell.setting), []).append(cell)
    if len(groups) > 1:
        groups["everything"] = results.cells
    head, rows, panels = ["ranked over", "cells", "system", "mean rank", "95 % interval"], [], []
    for name, cells in groups.items():
        systems, found, count = rank(results, cells, repeats)
        if found is None:
            rows.append([name, "0", NOT_RUN, "–", "–"])
            continue
        titles = [title_of(results, "systems", system) for system in systems]
        numbers = list(zip(titles, found.mean, found.low, found.high, strict=True))
        rows += [[name, str(count), t, f"{mean:.2f}", f"{low:.2f} to {high:.2f}"] for t, mean, low, high in numbers]
        panels.append((name, [Estimate(*row) for row in numbers]))
    blocks: list[Block] = [
        Words(
            "Rank 1 is the best. Systems are ranked in each task, on the seeds and cases that all of them have, and "
            "ranks are averaged over tasks; the intervals draw seeds and cases again. Only tasks and settings in which "
            "all of the systems that have runs were run are counted."
        )
    ]
    if panels:
        svg = draw_intervals(panels, "ranks", "mean rank", zero=False)
        blocks.append(Chart("ranks", svg, "Mean ranks with 95 % intervals; further to the left is better."))
    return Section("ranks", "Ranks", [*blocks, Table("Mean ranks", head, rows, words=3)])
