# SPDX-License-Identifier: Apache-2.0
"""Pre-trainings of a grid and the stores of cubes that they train on; those with the same settings are one job.

A pre-training is on the grid's scans and shared by all tasks, or on a task's own training scans and shared by the runs
of this task. It may continue that of another system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..utils.digests import digest
from .cases import own_datalist, pretraining_datalist, read_datalist, write_once
from .grid import OWN
from .jobs import DIGITS, FOLDERS, PRETRAINING, STORE, Job, Places, Step

EVALUATION = "evaluation"  # step and folder of a pre-training's linear probes


def plan_pretrainings(
    grid: Mapping[str, Any], listed: Mapping[str, Any], places: Places
) -> dict[tuple[str, str], tuple[Job, ...]]:
    """Return what must be done before the runs of a system on a task.

    Args:
        grid: of `read_grid`.
        listed: of `task_datalists`.
        places: folders.

    Returns:
        By system and task: jobs in the order of their work; runs start from the weights of the last one. Systems
        without pre-training are left out.

    Raises:
        ValueError: when data or a bundle is missing.
    """
    planner = _Planner(grid, listed, places)
    systems = [name for name, system in grid["systems"].items() if "pretraining" in system]
    return {(system, task): planner.plan(system, task) for system in systems for task in grid["tasks"]}


@dataclass
class _Planner:
    """Makes the jobs of pre-trainings; equal ones once, named by the first system and task that has them."""

    grid: Mapping[str, Any]
    listed: Mapping[str, Any]
    places: Places
    made: dict[str, Job] = field(default_factory=dict)
    scans: dict[str | None, tuple[dict[str, Any], Any]] = field(default_factory=dict)

    def plan(self, system: str, task: str) -> tuple[Job, ...]:
        """Return the jobs of a system's pre-training for a task, those of the one that it continues before them."""
        shared, entry = self.grid["pretraining"], self.grid["systems"][system]["pretraining"]
        earlier = self.plan(entry["continues"], task) if "continues" in entry else ()
        own = entry.get("scans") == OWN
        prepare, settings = _settings(shared, entry, task, self.grid["tasks"][task]["modality"] if own else None)
        store = self._store(task if own else None, prepare)
        before = earlier[-1] if earlier else None
        key = [store.name, shared["bundle"], entry.get("configs", shared["configs"]), settings]
        name = digest([*key, before.name] if before else key, DIGITS)
        if name not in self.made:
            of_a_task = own or (before is not None and "task" in before.facts)
            facts = {"system": system, **({"task": task} if of_a_task else {}), "settings": settings}
            self.made[name] = self._pretraining(name, facts, store, before)
        return *earlier, store, self.made[name]

    def _pretraining(self, key: str, facts: dict[str, Any], store: Job, before: Job | None) -> Job:
        shared, entry = self.grid["pretraining"], self.grid["systems"][facts["system"]]["pretraining"]
        name = "-".join([facts["system"], *([facts["task"]] if "task" in facts else []), key])
        folder = self.places.output / FOLDERS[PRETRAINING] / name
        configs = self.places.configs(shared["bundle"], *entry.get("configs", shared["configs"]))
        paths = {"bundle_root": str(folder), "cube_store": str(store.folder / "cubes"), "resume": True}
        settings = {**facts["settings"], **paths}
        weights = {"pretrained_weights": str(before.weights)} if before else {}
        steps = [Step("train", configs, {**settings, **weights})]
        probes = entry.get("evaluate", shared.get("evaluate"))
        if probes is not None:
            configs += self.places.configs(shared["bundle"], probes)
            steps.append(Step(EVALUATION, configs, {**settings, "output_dir": str(folder / EVALUATION)}))
        needs = (store.name, before.name) if before else (store.name,)
        facts = {"experiment": self.grid["name"], "run": name, **facts}
        return Job(name, PRETRAINING, folder, tuple(steps), needs, facts)

    def _store(self, task: str | None, prepare: Mapping[str, Any]) -> Job:
        """Return the job that makes the cubes of a task's own scans, or of the grid's."""
        if task not in self.scans:
            self.scans[task] = self._shared_scans() if task is None else self._own_scans(task)
        lists, content = self.scans[task]
        bundle = self.grid["pretraining"]["bundle"]
        name = f"cubes-{digest([bundle, prepare, content], DIGITS)}"
        folder = self.places.output / FOLDERS[STORE] / name
        paths = {"bundle_root": str(folder), "cube_store": str(folder / "cubes"), **lists}
        step = Step("prepare", self.places.configs(bundle, "prepare.json"), {**prepare, **paths})
        facts = {"experiment": self.grid["name"], "run": name, "settings": dict(prepare)}
        return Job(name, STORE, folder, (step,), (), facts)

    def _shared_scans(self) -> tuple[dict[str, Any], Any]:
        """Return the keys of `prepare.json` that name the scans, and what the lists hold: a change is another store."""
        shared = self.grid["pretraining"]
        if "datalists" in shared:
            files = [str(self.places.data / file) for file in shared["datalists"]]
            return {"datalist": files}, [read_datalist("pretraining", Path(file)) for file in files]
        return self._write("pretraining", pretraining_datalist(self.grid, self.listed, self.places.data))

    def _own_scans(self, task: str) -> tuple[dict[str, Any], Any]:
        content = own_datalist(task, self.grid["tasks"][task], self.listed[task])
        return self._write(f"pretraining-{task}", content)

    def _write(self, name: str, content: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        file = self.places.output / "datalists" / f"{name}-{digest(content, DIGITS)}.json"
        write_once(file, content)
        return {"datalist": str(file), "dataset_dir": str(self.places.data)}, content


def _settings(
    shared: Mapping[str, Any], entry: Mapping[str, Any], task: str, modality: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the store and of the training; those of a task's own scans have its modality alone."""
    prepare = {**shared.get("prepare", {}), **entry.get("prepare", {})}
    settings, own = shared.get("settings", {}), entry.get("settings", {})
    if modality is None:
        return prepare, {**settings, **own}
    of_task = entry.get("tasks", {}).get(task, {})
    only = {"modalities": [modality]}
    # MIAL would tell one modality from no other
    return {**prepare, **only}, {**settings, "mial": False, **own, **of_task, **only}
