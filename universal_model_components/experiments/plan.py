# SPDX-License-Identifier: Apache-2.0
"""From a grid to jobs: target runs and what they start from, each a few calls of `monai.bundle run`.

A job's name ends in a digest of all that it depends on, so a finished one is never redone, and one whose settings have
changed is another. Paths are not among them: the folders may move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..utils.command_line import check_keys
from ..utils.digests import digest
from .cases import count_cases, task_datalists, write_once
from .jobs import DIGITS, FOLDERS, PRETRAINING, RUN, STORE, Job, Places, Step
from .pretrainings import plan_pretrainings

NORMALIZATION = (
    *("intensity_range", "intensity_scale", "spacing", "foreground_crop", "follow_pretraining"),
    *("scans", "recipe", "settings"),  # that take them
)


def make_jobs(grid: Mapping[str, Any], places: Places) -> list[Job]:
    """List an experiment's jobs in the order of their work, and write its datalists.

    The comparison is useful early: all systems of a seed come before the next seed, the baseline first. A pre-training
    comes right before the first run that needs it.

    Args:
        grid: of `read_grid`.
        places: folders.

    Raises:
        ValueError: when data or a bundle is missing, a setting is unknown, or the split changed since the first run.
    """
    listed = task_datalists(grid, places.data)
    for task, content in listed.items():
        if "images" in grid["tasks"][task]:
            write_once(places.output / "datalists" / f"{task}.json", content)
    pretrainings = plan_pretrainings(grid, listed, places)
    jobs: dict[str, Job] = {}
    for run in _runs(grid, listed, places, pretrainings):
        for job in (*pretrainings.get((run.facts["system"], run.facts["task"]), ()), run):
            jobs.setdefault(job.name, job)
    _check_settings(jobs.values())
    return list(jobs.values())


def _check_settings(jobs: Iterable[Job]) -> None:
    """Refuse a setting that none of a job's steps has: MONAI would pass over it in silence."""
    checked = set()
    for job in jobs:
        configs = job.steps[-1].configs  # an evaluation's are those of the training and its own
        settings = {key: value for step in job.steps for key, value in step.settings.items()}
        if (configs, frozenset(settings)) not in checked:
            checked.add((configs, frozenset(settings)))
            try:
                check_keys(list(configs), settings)
            except ValueError as error:
                raise ValueError(f"experiment: {job.name}: {error}") from None


def _runs(
    grid: Mapping[str, Any],
    listed: Mapping[str, Any],
    places: Places,
    pretrainings: Mapping[tuple[str, str], tuple[Job, ...]],
) -> Iterator[Job]:
    systems = sorted(grid["systems"], key=lambda name: name != grid["baseline"])
    counts = {task: _counts(grid, task, listed[task]["training"]) for task in grid["tasks"]}
    for seed in grid["seeds"]:
        for labels in grid["labels"]:
            for noise in grid["label_noise"]:
                for task in grid["tasks"]:
                    cases, share = counts[task].get(labels, (0, 0.0))
                    for system in systems if cases else []:
                        before = pretrainings.get((system, task))
                        cell = {"task": task, "system": system, "seed": seed, "labels": cases, "label_noise": noise}
                        cell |= {"asked": labels, "label_fraction": share}
                        yield _run(grid, listed[task], places, cell, before[-1] if before else None)


def _counts(grid: Mapping[str, Any], task: str, training: Sequence[Any]) -> dict[Any, tuple[int, float]]:
    """Return for each of the grid's labels how many cases and which share these are; without those that repeat another.

    Of labels that are the same cases the first are kept, or "all".
    """
    classified = grid["tasks"][task].get("metric") == "auc"
    found: dict[int, tuple[Any, float]] = {}
    for labels in grid["labels"]:
        count, share = count_cases(training, labels, classified)
        if count and (count not in found or labels == "all"):
            found[count] = labels, share
    return {labels: (count, share) for count, (labels, share) in found.items()}


def _run(
    grid: Mapping[str, Any], listed: Mapping[str, Any], places: Places, cell: dict[str, Any], before: Job | None
) -> Job:
    task = grid["tasks"][cell["task"]]
    system = grid["systems"][cell["system"]]
    settings = {**grid["settings"], **task.get("settings", {}), **system.get("settings", {})}
    settings |= system.get("tasks", {}).get(cell["task"], {})
    settings |= {"seed": cell["seed"], "label_fraction": cell["label_fraction"]}
    if cell["label_noise"]:
        settings["label_noise"] = cell["label_noise"]
    if "steps_per_epoch" in grid and task.get("metric") != "auc":
        cubes = grid["steps_per_epoch"] * settings["batch_size"] / cell["labels"]
        settings["cubes_per_case"] = max(1, round(cubes))
    overlays, weights = tuple(system.get("configs", ())), [system["weights"]] if "weights" in system else []
    key = digest([task["bundle"], *overlays, *weights, settings, listed, before.name if before else None], DIGITS)
    noise = f"-noise{cell['label_noise']}" if cell["label_noise"] else ""
    name = f"{cell['task']}-{cell['system']}-labels{cell['labels']}{noise}-seed{cell['seed']}-{key}"
    folder = places.output / FOLDERS[RUN] / name
    facts = {
        "experiment": grid["name"],
        "run": name,
        **cell,
        "pretraining": before.name if before else None,
        "metric": task.get("metric", "iou"),
        "higher_is_better": True,
        "settings": dict(settings),
    }
    settings |= _run_paths(grid, places, folder, cell, before, settings)
    steps = _run_steps(task, overlays, places, folder, settings)
    return Job(name, RUN, folder, steps, (before.name,) if before else (), facts)


def _run_paths(
    grid: Mapping[str, Any],
    places: Places,
    folder: Path,
    cell: Mapping[str, Any],
    before: Job | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    name, task, system = cell["task"], grid["tasks"][cell["task"]], grid["systems"][cell["system"]]
    own = "images" in task
    paths = {
        "bundle_root": str(folder),
        "dataset_dir": str(places.data / task.get("dataset_dir", "")),
        "datalist": str(places.output / "datalists" / f"{name}.json" if own else places.data / task["datalist"]),
    }
    if "weights" in system:
        paths["pretrained_weights"] = str(places.data / system["weights"])
    if before is not None:
        paths["pretrained_weights"] = str(before.weights)
    if task.get("metric") == "auc" and "cache_dir" not in settings:
        paths["cache_dir"] = str(places.output / "caches" / f"{name}-{_normalization(system, before, settings)}")
    return paths


def _normalization(system: Mapping[str, Any], before: Job | None, settings: Mapping[str, Any]) -> str:
    """Return a digest of what normalizes the scans of a classification, which runs with the same one share."""
    own = {key: value for key, value in settings.items() if key.split("::")[0] in NORMALIZATION}
    follows = str(own.get("follow_pretraining", False)).lower() != "false"
    weights = (before.name if before else system.get("weights")) if follows else None
    return digest([own, system.get("configs", []), weights], DIGITS)


def _run_steps(
    task: Mapping[str, Any], overlays: tuple[str, ...], places: Places, folder: Path, settings: dict[str, Any]
) -> tuple[Step, ...]:
    """Return training, and evaluation of its best weights on the validation and on the test cases."""
    configs = places.configs(task["bundle"], "train.json", *overlays)
    train = Step("train", configs, {**settings, "resume": True})
    configs += places.configs(task["bundle"], "evaluate.json")
    weights = {"pretrained_weights": str(folder / "models" / "model.pt")}
    evaluations = [
        Step(split, configs, {**settings, **weights, "split": split, "output_dir": str(folder / split)})
        for split in ("validation", "test")
    ]
    return (train, *evaluations)


def describe(grid: Mapping[str, Any], jobs: list[Job]) -> dict[str, Any]:
    """Return what the report and the status read: the grid, and its runs and pre-trainings."""
    keys = ("run", "task", "system", "seed", "labels", "asked", "label_fraction", "label_noise", "pretraining")
    runs = [{key: job.facts[key] for key in keys} for job in jobs if job.kind == RUN]
    named = ("run", "system", "task")
    before = [{k: job.facts[k] for k in named if k in job.facts} for job in jobs if job.kind == PRETRAINING]
    stores = [job.name for job in jobs if job.kind == STORE]
    return {**grid, "runs": runs, "pretrainings": before, "stores": stores}
