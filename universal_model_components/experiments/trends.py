# SPDX-License-Identifier: Apache-2.0
"""The report's sections about curves, label fractions, label noise, pre-training's probes and cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..figures.bands import Line, Panel, draw_bands
from ..utils.files import safe_name
from .blocks import Block, Chart, Picture, Section, Table, Words
from .comparisons import settings
from .convergence import curves_of, first_step
from .probes import MODULES, module_effects
from .results import Cell, Record, Results
from .sections import METRICS, NOT_RUN, in_words, percent, title_of


def convergence(results: Results) -> Section:
    """Validation curves, and the step at which each system reaches what the baseline ends with."""
    base = title_of(results, "systems", results.baseline)
    blocks: list[Block] = [
        Words(
            f"Validation metric against the training step: mean over seeds, with a band of one standard deviation. "
            f"“Reaches” is the first step at which a mean curve is as good as the last value of “{base}”."
        )
    ]
    for place, (labels, noise) in enumerate(settings(results.cells)):
        panels, rows = [], []
        cells = [cell for cell in results.cells if (cell.labels, cell.noise) == (labels, noise)]
        for cell in cells:
            panel, found = _curves(results, cell)
            panels += [panel] if panel else []
            rows += found
        words = in_words(cells[0].setting)
        if panels:
            svg = draw_bands(panels, f"convergence_{place}")
            blocks.append(Chart(f"convergence_{place}", svg, f"Validation curves with {words}."))
        head = ["task", "system", "first value", "last value", "reaches", "share of the steps"]
        blocks.append(Table(f"Convergence with {words}", head, rows, words=2))
    return Section("convergence", "Convergence", blocks)


def _curves(results: Results, cell: Cell) -> tuple[Panel | None, list[list[str]]]:
    bands, rows = curves_of(cell, results.systems), []
    target = bands[results.baseline].mean[-1] if results.baseline in bands else None
    for system in results.systems:
        names = [title_of(results, "tasks", cell.task), title_of(results, "systems", system)]
        band = bands.get(system)
        if band is None:
            rows.append([*names, "no curve" if cell.records.get(system) else NOT_RUN, "–", "–", "–"])
            continue
        step = first_step(band, target, cell.higher_is_better) if target is not None else None
        total = bands[results.baseline].steps[-1] if target is not None else np.nan
        reached = (
            ["never" if target is not None else "–", "–"]
            if step is None
            else [f"{step:g}", f"{100 * step / total:.0f} %"]
        )
        rows.append([*names, percent(band.mean[0]), percent(band.mean[-1]), *reached])
    if not bands:
        return None, rows
    lines = [_line(results, system, band.steps, 100 * band.mean, 100 * band.spread) for system, band in bands.items()]
    level = 100 * target if target is not None else None
    name = f"last value of {title_of(results, 'systems', results.baseline)}"
    return Panel(title_of(results, "tasks", cell.task), "step", _percent(cell), lines, level, name), rows


def _line(results: Results, system: str, x: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> Line:
    return Line(title_of(results, "systems", system), results.systems.index(system), x, mean, spread)


def _percent(cell: Cell) -> str:
    return f"{METRICS.get(cell.metric, cell.metric)} (%)"


def labels(results: Results) -> Section:
    """Score against the number of labeled training cases, with the baseline at all of them."""
    level = "all labels"
    words = f"Score against the number of training cases (band: one standard deviation over seeds); dashed: {level}, "
    words += f"“{title_of(results, 'systems', results.baseline)}”."
    least = {task: min(cell.noise for cell in results.cells if cell.task == task) for task in _tasks(results)}
    cells = [cell for cell in results.cells if cell.noise == least[cell.task]]
    panels = _score_panels(results, cells, lambda cell: cell.count, "training cases", baseline_level=True)
    return _chart_section("labels", "Label fractions", words, panels, "one number of labels")


def noise(results: Results) -> Section:
    """Score against the noise of the training labels, and pictures of the noise."""
    words = (
        "Score against the noise of the training labels: the largest radius, in mm, by which they are eroded or "
        "dilated. Test and validation labels are clean."
    )
    most = {task: max(cell.count for cell in results.cells if cell.task == task) for task in _tasks(results)}
    cells = [cell for cell in results.cells if cell.count == most[cell.task]]
    panels = _score_panels(results, cells, lambda cell: cell.noise, "label noise, mm", baseline_level=False)
    section = _chart_section("noise", "Label noise", words, panels, "one strength of label noise")
    return replace(section, blocks=[*section.blocks, *_noise_pictures(results)])


def _tasks(results: Results) -> set[str]:
    return {cell.task for cell in results.cells}


def _noise_pictures(results: Results) -> list[Picture]:
    """Noisy masks of each task at each strength of noise, where a finished run left a picture of them.

    The masks of a seed are the same for every system: the run shown is the baseline's with the lowest seed and the most
    labels, or that of the next system that has a picture.
    """
    pictures = []
    for task, noise in dict.fromkeys((cell.task, cell.noise) for cell in results.cells if cell.noise):
        cells = [cell for cell in reversed(results.cells) if (cell.task, cell.noise) == (task, noise)]
        runs = (
            cell.records[system][seed]
            for system in results.systems
            for cell in cells  # the one with the most labels first
            for seed in sorted(cell.records.get(system, {}))
        )
        run = next((run for run in runs if run["run"] in results.pictures), None)
        if run is not None:
            name = safe_name(f"label_noise_{task}_{noise:g}")
            caption = f"{title_of(results, 'tasks', task)}: training masks eroded or dilated by up to {noise:g} mm"
            caption += f" (seed {run['seed']}), in the order of their radii; a negative radius erodes."
            pictures.append(Picture(name, results.pictures[run["run"]], caption))
    return pictures


def _chart_section(name: str, title: str, words: str, panels: Sequence[Panel], one: str) -> Section:
    if not panels:
        return Section(name, title, [Words(f"No curve: finished runs have {one} only.")])
    return Section(name, title, [Chart(name, draw_bands(panels, name, at_points=True), words)])


def _score_panels(
    results: Results, cells: Sequence[Cell], place: Callable[[Cell], float], xlabel: str, baseline_level: bool
) -> list[Panel]:
    """A panel for each task that has scores at two or more places."""
    panels = []
    for task in results.grid["tasks"]:
        own = sorted((cell for cell in cells if cell.task == task and cell.finished), key=place)
        if len({place(cell) for cell in own}) < 2:
            continue
        lines, level = [], None
        for system in results.systems:
            points = [(place(cell), cell.scores(system)) for cell in own if len(cell.scores(system))]
            if points:
                x, mean = (np.array(values) for values in zip(*((x, s.mean()) for x, s in points), strict=True))
                spread = np.array([s.std(ddof=1) if len(s) > 1 else 0.0 for _, s in points])
                lines.append(_line(results, system, x, 100 * mean, 100 * spread))
            if baseline_level and system == results.baseline and points and own[-1].labels == "all":
                level = 100 * own[-1].scores(system).mean() if len(own[-1].scores(system)) else None
        base = title_of(results, "systems", results.baseline)
        panels.append(Panel(title_of(results, "tasks", task), xlabel, _percent(own[0]), lines, level, f"{base}, all"))
    return panels


def probes(results: Results) -> Section:
    """What pre-training's classifiers read off the encoder, and what MIAL and SC change."""
    planned = {entry["run"]: entry for entry in results.grid.get("pretrainings", [])}
    if not planned:
        return Section("probes", "Probes of the pre-training", [Words("No system of this experiment is pre-trained.")])
    found = {run: results.pretrainings[run].get("probes") or {} for run in planned if run in results.pretrainings}
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    titles = {run: _title(results, entry) for run, entry in planned.items()}
    rows = [
        [name, *("–" if values.get(name) is None else f"{values[name]:.4f}" for values in found.values())]
        for name in names
    ]
    effects = []
    for effect in module_effects(results):
        pair = [titles[run] for run in (effect.without, effect.with_it)]
        numbers = [f"{effect.before:.4f}", f"{effect.after:.4f}"] if effect.probe else ["–", "–"]
        finding = ("as claimed" if effect.as_claimed else "not as claimed") if effect.probe else "not measured in both"
        effects.append([effect.module, *pair, effect.probe or "–", finding, *numbers])
    blocks: list[Block] = [
        Words(
            "The paper's modality invariant adversarial learning (MIAL) should lower the accuracy of predicting the "
            "modality from the features; its scale classifier (SC) should raise that of predicting the scale."
        ),
    ]
    if names:
        blocks.append(Table("Last values on validation cubes", ["probe", *(titles[run] for run in found)], rows))
    elif found:
        blocks.append(Words("The finished pre-trainings have no probes."))
    if missing := [title for run, title in titles.items() if run not in found]:
        blocks.append(Words(f"Pre-trainings that were {NOT_RUN}: {'; '.join(missing)}."))
    head = ["module", "without it", "with it", "probe", "finding", "before", "after"]
    pairs = f"no two finished pre-trainings differ in one of {' and '.join(MODULES)} alone"
    effect_block = Table("Pre-trainings that differ in one module", head, effects, words=5) if effects else None
    return Section("probes", "Probes of the pre-training", [*blocks, effect_block or Words(f"Effects: {pairs}.")])


def _title(results: Results, pretraining: Record) -> str:
    """Title of a pre-training: that of its system, and of its task where it is on the task's own scans."""
    title = title_of(results, "systems", pretraining["system"])
    return f"{title}, {title_of(results, 'tasks', pretraining['task'])}" if "task" in pretraining else title


def cost(results: Results) -> Section:
    """Time and memory of each system's runs and of its pre-training."""
    rows = []
    for system in results.systems:
        runs = [record for record in results.records.values() if record["system"] == system]
        ids = {run.get("pretraining") for run in results.grid["runs"] if run["system"] == system} - {None}
        shared = [results.pretrainings[name] for name in sorted(ids) if name in results.pretrainings]
        rows.append([title_of(results, "systems", system), *_costs(runs), *(_costs(shared) if ids else ["–"] * 3)])
    head = ["system", "runs", "seconds a run", "peak memory, MiB"]
    head += ["pre-trainings", "seconds a pre-training", "peak memory, MiB"]
    finished = [*results.records.values(), *results.pretrainings.values()]
    devices = sorted({str(record["device"]) for record in finished if record.get("device")})
    where = ", ".join(devices) or "not recorded"
    words = f"Mean wall time, and highest memory of a process, not of a GPU; device: {where}."
    if any("continues" in (system.get("pretraining") or {}) for system in results.grid["systems"].values()):
        words += " A pre-training that continues another one is counted without the other's time."
    return Section("cost", "Cost", [Words(words), Table("Cost of each system", head, rows)])


def _costs(records: Sequence[Record]) -> list[str]:
    if not records:
        return ["0", NOT_RUN, "–"]
    seconds, memory = (
        [float(record[key]) for record in records if record.get(key) is not None]
        for key in ("seconds", "peak_memory_mib")
    )
    times = f"{np.mean(seconds):.1f}" if seconds else "–"
    return [str(len(records)), times, f"{max(memory):.0f}" if memory else "–"]
