# SPDX-License-Identifier: Apache-2.0
"""Which scans train, validate and test: datalists of an experiment, split by person before the first run.

The order of the people is a hash of the experiment's name and theirs. Tasks that name the same "people" share one
split; so do folders of scans for pre-training, which never get a person that any task validates or tests on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..utils.files import write_json
from .folders import find_scans, people_of

SPLITS = ("training", "validation", "test")
HELD_OUT = ("validation", "test")
Listed = dict[str, Any]


def split_people(members: Mapping[str, frozenset[str]], counts: Mapping[str, int], name: str) -> dict[str, str]:
    """Give each person a split; who is in the same tasks is spread evenly over test, validation and training.

    Args:
        members: the tasks of each person.
        counts: people to "test" and to "validation"; the others train.
        name: of the experiment.

    Raises:
        ValueError: when nobody is left to train on.
    """
    wanted = counts["test"] + counts["validation"]
    if wanted >= len(members):
        raise ValueError(f"split: {wanted} people to test and validate of {len(members)}: ask for fewer")
    places = []
    for stratum in set(members.values()):
        order = sorted((person for person, tasks in members.items() if tasks == stratum), key=lambda p: _hash(name, p))
        places += [((place + 0.5) / len(order), _hash(name, person), person) for place, person in enumerate(order)]
    people = [person for *_, person in sorted(places)]
    splits = dict.fromkeys(people, "training")
    return splits | dict.fromkeys(people[:wanted], "validation") | dict.fromkeys(people[: counts["test"]], "test")


def _hash(name: str, person: str) -> str:
    return hashlib.sha256(f"{name}:{person}".encode()).hexdigest()


def task_datalists(grid: Mapping[str, Any], data: Path) -> dict[str, Listed]:
    """Make or read the datalist of each task.

    Args:
        grid: of `read_grid`.
        data: folder that the grid's paths are relative to.

    Returns:
        By task: a MONAI datalist with "training", "validation" and "test".

    Raises:
        ValueError: when a folder or a datalist is missing or empty, a count is impossible, or tasks of the same people
            ask for different ones.
    """
    found = {name: _find_pairs(name, task, data) for name, task in grid["tasks"].items() if "images" in task}
    splits = _split_tasks(grid, found)
    listed: dict[str, Listed] = {}
    for name, task in grid["tasks"].items():
        if name in found:
            parts = {split: [entry for entry in found[name] if splits[entry["group"]] == split] for split in SPLITS}
            listed[name] = {"name": f"{grid['name']}_{name}", "version": 1, **parts}
        else:
            listed[name] = read_datalist(f"tasks: {name}", data / task["datalist"])
    for name, content in listed.items():
        for split in SPLITS[:2]:
            if not content.get(split):
                raise ValueError(f"tasks: {name}: no {split!r} case: correct the split or the datalist")
    return listed


def _split_tasks(grid: Mapping[str, Any], found: Mapping[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Return the split of each person of each task: one for all tasks of the same people."""
    members: dict[str, dict[str, set[str]]] = {}
    counts: dict[str, Any] = {}
    for name, entries in found.items():
        people = people_of(name, grid["tasks"][name])
        if counts.setdefault(people, grid["tasks"][name]["split"]) != grid["tasks"][name]["split"]:
            raise ValueError(f"tasks: {name}: split: other tasks of the people {people!r} have another: give the same")
        for entry in entries:
            members.setdefault(people, {}).setdefault(entry["group"], set()).add(name)
    splits: dict[str, str] = {}
    for people, tasks in members.items():
        try:
            strata = {person: frozenset(names) for person, names in tasks.items()}
            splits |= split_people(strata, counts[people], grid["name"])
        except ValueError as error:
            raise ValueError(f"tasks: {people}: {error}") from None
    return splits


def _find_pairs(name: str, task: Mapping[str, Any], data: Path) -> list[dict[str, Any]]:
    """List the images of a task that have a label of the same name."""
    entries = []
    for image in find_scans(f"tasks: {name}", task, people_of(name, task), data):
        label = f"{task['labels']}/{Path(image['image']).name}"
        if not (data / label).is_file():
            raise ValueError(f"tasks: {name}: no label {data / label}: add it, or exclude the image")
        entries.append({**image, "label": label})
    return entries


def read_datalist(where: str, file: Path) -> Listed:
    """Read a datalist of a grid.

    Args:
        where: it is named in the grid, for messages.
        file: JSON.

    Raises:
        ValueError: when it cannot be read, or holds no mapping.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{where}: datalist {file} cannot be read ({error}): correct it, or --data") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where}: datalist {file} holds no mapping of lists of cases")
    return content


def pretraining_datalist(grid: Mapping[str, Any], listed: Mapping[str, Listed], data: Path) -> Listed:
    """List the scans to pre-train on: those of the grid and the tasks' own for training, without labels.

    Nobody whom a task validates or tests on is among them, in any folder; they are listed as "test", so that the
    preparation checks it once more.

    Args:
        grid: of `read_grid`; its pre-training has "scans".
        listed: of `task_datalists`.
        data: folder that the grid's paths are relative to.
    """
    held: dict[str, Listed] = {}
    own: list[Listed] = []
    for name, task in grid["tasks"].items():
        held |= _held_out(name, task, listed[name])
        own += _scans_of(name, task, listed[name]["training"]).values()
    found = [
        scan
        for source in grid["pretraining"]["scans"]
        for scan in find_scans("pretraining", source, people_of(source["images"], source), data)
    ]
    return _without_held(found + own if grid["pretraining"].get("own_scans", True) else found, held)


def own_datalist(name: str, task: Mapping[str, Any], listed: Listed) -> Listed:
    """List the training scans of one task to pre-train on, without labels; its other scans are listed as "test".

    Args:
        name: of the task.
        task: its entry in the grid.
        listed: of `task_datalists`, for this task.
    """
    return _without_held(_scans_of(name, task, listed["training"]).values(), _held_out(name, task, listed))


def _held_out(name: str, task: Mapping[str, Any], listed: Listed) -> dict[str, Listed]:
    return _scans_of(name, task, [entry for split in HELD_OUT for entry in listed.get(split, [])])


def _scans_of(name: str, task: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Listed]:
    """Return the scans of a task's cases by path, each with the person that it shows."""
    scans: dict[str, Listed] = {}
    folder = task.get("dataset_dir", "")
    for entry in entries:
        image = str(Path(folder) / entry["image"])
        group = entry["group"] if "images" in task else f"{people_of(name, task)}/{entry.get('group', image)}"
        scans[image] = {"image": image, "modality": task["modality"], "group": group}
    return scans


def _without_held(scans: Iterable[Listed], held: Mapping[str, Listed]) -> Listed:
    people = {scan["group"] for scan in held.values()}
    training = {scan["image"]: scan for scan in scans if scan["group"] not in people and scan["image"] not in held}
    return {
        "name": "given",
        "version": 1,
        "training": [training[image] for image in sorted(training)],
        "test": [held[image] for image in sorted(held)],
    }


def write_once(file: Path, content: Mapping[str, Any]) -> None:
    """Write a datalist; one that is there must be the same, as a split never changes after the first run.

    Raises:
        ValueError: when it differs.
    """
    if not file.is_file():
        write_json(file, content)
    elif json.loads(file.read_text(encoding="utf-8")) != content:
        raise ValueError(f"{file}: the scans or the split changed since the first run: give another --output")


def count_cases(listed: Sequence[Mapping[str, Any]], labels: Any, classified: bool = False) -> tuple[int, float]:
    """Return how many training cases a run has, and the `label_fraction` that keeps them.

    Args:
        listed: training cases.
        labels: "all", a number or a share of them.
        classified: a share is kept of each class, so the number may be another than was asked for.

    Returns:
        0 cases where there are too few.
    """
    share = 1.0 if labels == "all" else labels if isinstance(labels, float) else labels / max(1, len(listed))
    if share > 1:
        return 0, 1.0
    classes = Counter(entry.get("label") if classified else None for entry in listed)
    count = sum(max(1, math.floor(share * size + 0.5)) for size in classes.values())
    return count, share if classified else count / len(listed)
