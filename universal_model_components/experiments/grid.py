# SPDX-License-Identifier: Apache-2.0
"""An experiment as data: a JSON grid of systems, tasks, seeds, labels and label noise, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from .results import paper_table

GRIDS = Path(__file__).with_name("grids")
MODALITIES = ("ct", "mri")
METRICS = ("iou", "auc")  # key metrics: of segmentation and of classification
OWN = "own"  # scans of a pre-training: the training scans of the task that it is for
KEYS = {
    "grid": (
        *("name", "title", "baseline", "seeds", "labels", "label_noise", "settings", "steps_per_epoch"),
        *("pretraining", "systems", "tasks", "paper"),
    ),
    "pretraining": ("bundle", "configs", "evaluate", "prepare", "settings", "scans", "own_scans", "datalists"),
    "scans": ("images", "modality", "people", "group", "exclude"),
    "system": ("title", "configs", "weights", "pretraining", "settings", "tasks"),
    "system's pretraining": ("scans", "continues", "configs", "evaluate", "prepare", "settings", "tasks"),
    "task": (
        *("title", "bundle", "metric", "modality", "settings", "dataset_dir", "datalist"),
        *("images", "labels", "split", "people", "group", "exclude"),
    ),
}


def provided_grids() -> list[str]:
    """Return the names of the grids that come with the package."""
    return sorted(file.stem for file in GRIDS.glob("*.json"))


def read_grid(name: str) -> dict[str, Any]:
    """Read a grid and fill in what it leaves out.

    Args:
        name: of a provided grid, or the path of a JSON file.

    Returns:
        The grid: "name", "title", "baseline" (a system), "seeds", "labels" (numbers of training cases, shares below 1,
        or "all"), "label_noise" (as the bundles' key), "settings" of every target training, "systems" and "tasks" by
        name, and "pretraining", which is None where no system has any.

    Raises:
        ValueError: when there is no such grid, or a key is missing, unknown or has an impossible value; one line.
    """
    file = _file_of(name, Path())
    given, where = _load(file), f"experiment: {file}"
    defaults = {"name": file.stem, "title": file.stem, "baseline": "scratch", "seeds": [0], "labels": ["all"]}
    grid = {**defaults, "label_noise": [0], "settings": {}, "pretraining": None, **given}
    _check_values(where, grid)
    _check_systems(where, grid)
    if isinstance(grid.get("paper"), str):
        paper_table(grid["paper"])
    for task, entry in grid["tasks"].items():
        _check_task(f"{where}: tasks: {task}", entry)
        if entry.get("metric") == "auc" and any(grid["label_noise"]):
            raise ValueError(f"{where}: label_noise: {task} is a classification, whose labels have none: leave it out")
    return grid


def _file_of(name: str, folder: Path) -> Path:
    return folder / name if name.endswith(".json") else GRIDS / f"{name}.json"


def _load(file: Path, heirs: Sequence[Path] = ()) -> dict[str, Any]:
    """Read a grid's JSON; where it "extends" another, its keys are merged into that one as MONAI merges configs."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        by = f"{heirs[-1]}: extends: " if heirs else ""
        what = f"no grid {file.stem!r}" if file.parent == GRIDS and not file.is_file() else f"{file}: {error}"
        raise ValueError(f"experiment: {by}{what}: give one of {provided_grids()}, or a grid's JSON file") from None
    if isinstance(given, dict) and "extends" in given:
        given = _extend(file, given, (*heirs, file))
    _check_keys(f"experiment: {file}", given, KEYS["grid"], () if heirs else ("systems", "tasks"))
    return given


def _extend(file: Path, given: dict[str, Any], heirs: Sequence[Path]) -> dict[str, Any]:
    """Merge a grid's keys into those of the one that it extends."""
    name = given.pop("extends")
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"experiment: {file}: extends: {name!r}: give one of {provided_grids()}, or a grid's JSON file"
        )
    base = _file_of(name, file.parent)
    if base.resolve() in [heir.resolve() for heir in heirs]:
        raise ValueError(f"experiment: {file}: extends: {base} extends it in turn: take one of them out")
    parser = ConfigParser(_load(base, heirs))
    for key, value in given.items():
        try:
            if key.startswith("+") and key[1:] not in parser:
                raise KeyError(f"there is no {key[1:]!r} to add to")
            merge_kv(parser, key, value)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"experiment: {file}: {key!r} does not fit into {base} ({error})") from error
    return dict(parser.get())


def _check_keys(where: str, entry: Any, known: Sequence[str], needed: Sequence[str] = ()) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is {entry!r}, expected a mapping with {list(needed or known)}")
    unknown, missing = sorted(set(entry) - set(known)), [key for key in needed if key not in entry]
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}, expected one of {list(known)}")
    if missing:
        raise ValueError(f"{where}: no {missing[0]!r}: add it")


def _check_values(where: str, grid: Mapping[str, Any]) -> None:
    for key in ("systems", "tasks", "settings"):
        if not isinstance(grid[key], Mapping):
            raise ValueError(f"{where}: {key}: {grid[key]!r} is not a mapping")
    for key in ("seeds", "labels", "label_noise"):
        values = grid[key]
        if not isinstance(values, list) or not values or len({json.dumps(value) for value in values}) < len(values):
            raise ValueError(f"{where}: {key}: {values!r} is not a list of different values")
    for noise in grid["label_noise"]:
        if isinstance(noise, bool) or not isinstance(noise, (int, float)) or (noise and not noise >= 1):
            raise ValueError(f"{where}: label_noise: {noise!r} is not a radius of 1 mm or more, or 0")
    for seed in grid["seeds"]:
        if not _is_count(seed):
            raise ValueError(f"{where}: seeds: {seed!r} is not a whole number")
    for labels in grid["labels"]:
        if labels != "all" and not (_is_count(labels, 1) or (isinstance(labels, float) and 0 < labels < 1)):
            raise ValueError(f"{where}: labels: {labels!r} is not a number of cases, a share below 1 or 'all'")
    steps = grid.get("steps_per_epoch")
    if steps is not None and not (_is_count(steps, 1) and "batch_size" in grid["settings"]):
        raise ValueError(f"{where}: steps_per_epoch: {steps!r}: give a whole number, and settings: batch_size")


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_systems(where: str, grid: Mapping[str, Any]) -> None:
    if grid["baseline"] not in grid["systems"]:
        raise ValueError(f"{where}: baseline: {grid['baseline']!r} is none of the systems {list(grid['systems'])}")
    for name, system in grid["systems"].items():
        place = f"{where}: systems: {name}"
        _check_keys(place, system, KEYS["system"])
        _check_tasks(place, system, grid)
        if "pretraining" in system and "weights" in system:
            raise ValueError(f"{place}: weights: it has a pre-training, whose weights it starts from: give one of them")
        if "pretraining" in system and grid["pretraining"] is None:
            raise ValueError(f"{place}: has a pre-training, but the grid has no 'pretraining': add it")
        if "pretraining" in system:
            _check_pretraining(f"{place}: pretraining", system["pretraining"], grid)
    _check_order(f"{where}: systems", grid["systems"])
    if grid["pretraining"] is not None:
        place = f"{where}: pretraining"
        _check_keys(place, grid["pretraining"], KEYS["pretraining"], ("bundle", "configs"))
        given = [key for key in ("scans", "datalists") if key in grid["pretraining"]]
        entries = [system["pretraining"] for system in grid["systems"].values() if "pretraining" in system]
        if len(given) != 1 and (given or any("scans" not in entry for entry in entries)):
            raise ValueError(f"{place}: give either 'scans' (folders) or 'datalists' (files)")
        for source in grid["pretraining"].get("scans", []):
            _check_keys(f"{place}: scans", source, KEYS["scans"], ("images", "modality"))
            _check_excluded(f"{place}: scans", source)


def _check_tasks(place: str, entry: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    unknown = sorted(set(entry.get("tasks", {})) - set(grid["tasks"]))
    if unknown:
        raise ValueError(f"{place}: tasks: {unknown[0]!r} is none of the tasks {list(grid['tasks'])}")


def _check_pretraining(place: str, entry: Any, grid: Mapping[str, Any]) -> None:
    _check_keys(place, entry, KEYS["system's pretraining"])
    if entry.get("scans", OWN) != OWN:
        raise ValueError(f"{place}: scans: {entry['scans']!r}: give {OWN!r}, or leave it out for those of the grid")
    if "tasks" in entry and "scans" not in entry:
        raise ValueError(f"{place}: tasks: without 'scans': {OWN!r} the tasks share a pre-training: give 'settings'")
    _check_tasks(place, entry, grid)


def _check_order(place: str, systems: Mapping[str, Any]) -> None:
    """Check that pre-trainings continue others that there are, and not each other."""
    entries = {name: system["pretraining"] for name, system in systems.items() if "pretraining" in system}
    for name, entry in entries.items():
        seen, earlier = [name], entry.get("continues")
        while earlier is not None:
            if earlier in seen or earlier not in list(entries):
                others = [other for other in entries if other != name]
                what = "has no pre-training, or one that continues itself"
                raise ValueError(f"{place}: {name}: pretraining: continues: {earlier!r} {what}: give one of {others}")
            seen.append(earlier)
            earlier = entries[earlier].get("continues")


def _check_excluded(where: str, source: Mapping[str, Any]) -> None:
    names = source.get("exclude", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: exclude: {names!r} is not a list of names")


def _check_task(where: str, task: Any) -> None:
    _check_keys(where, task, KEYS["task"], ("bundle", "modality"))
    if task["modality"] not in MODALITIES:
        raise ValueError(f"{where}: modality: {task['modality']!r} is none of {list(MODALITIES)}")
    if task.get("metric", "iou") not in METRICS:
        raise ValueError(f"{where}: metric: {task['metric']!r} is none of {list(METRICS)}")
    if ("datalist" in task) == ("images" in task):
        raise ValueError(f"{where}: give either 'datalist', or 'images', 'labels' and 'split'")
    unused = ("labels", "split", "group", "exclude") if "datalist" in task else ("dataset_dir",)
    for key in (key for key in unused if key in task):
        raise ValueError(f"{where}: {key}: not for a task with {'datalist' if 'datalist' in task else 'images'!r}")
    if "images" in task:
        _check_keys(where, task, KEYS["task"], ("images", "labels", "split"))
        _check_excluded(where, task)
        _check_keys(f"{where}: split", task["split"], ("test", "validation"), ("test", "validation"))
        for name, people in task["split"].items():
            if not _is_count(people):
                raise ValueError(f"{where}: split: {name}: {people!r} is not a number of people")
