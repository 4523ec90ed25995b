# SPDX-License-Identifier: Apache-2.0
"""What pre-training's own classifiers say: MIAL should lower modality accuracy, SC should raise scale accuracy."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from ..utils.settings import to_bool
from .results import Record, Results

# setting → what the probes' names contain, and whether the module should raise them
MODULES = {"mial": ("modality", False), "scale_classifier": ("scale", True)}


@dataclass(frozen=True)
class Effect:
    """A module's effect on a probe, in two pre-trainings that differ in the module alone.

    Args:
        module: "mial" or "scale_classifier".
        without: run of the pre-training without the module.
        with_it: of that with it.
        probe: name of the probe; empty where the two have none in common.
        before: the probe's value without the module.
        after: with it.
    """

    module: str
    without: str
    with_it: str
    probe: str = ""
    before: float = math.nan
    after: float = math.nan

    @property
    def as_claimed(self) -> bool:
        """Whether the module changes the probe in the direction that the paper expects."""
        return self.after > self.before if MODULES[self.module][1] else self.after < self.before


def module_effects(results: Results) -> list[Effect]:
    """Compare each pair of pre-trainings of the grid that differ in one module and in no other setting."""
    records = list(results.pretrainings.values())
    effects = []
    for module, (word, _) in MODULES.items():
        for one, other in itertools.permutations(records, 2):
            if (
                _switches(one)[module]
                and _switches(other) == {**_switches(one), module: False}
                and _rest(results, one) == _rest(results, other)
            ):
                values = [record.get("probes") or {} for record in (other, one)]
                names = [n for n, v in values[0].items() if word in n and None not in (v, values[1].get(n))]
                pair = module, other["run"], one["run"]
                effects += [Effect(*pair, name, float(values[0][name]), float(values[1][name])) for name in names]
                effects += [] if names else [Effect(*pair)]
    return effects


def _switches(record: Record) -> dict[str, bool]:
    """Which modules were on; the bundle's default is on."""
    settings = record.get("settings") or {}
    return {name: to_bool(settings.get(name, True), f"pre-training {record['run']}: {name}") for name in MODULES}


def _rest(results: Results, record: Record) -> tuple[Any, ...]:
    """What a pre-training is besides its modules: its settings, its task, and what the grid says of its system."""
    settings = {key: value for key, value in (record.get("settings") or {}).items() if key not in MODULES}
    entry = results.grid["systems"].get(record["system"], {}).get("pretraining", {})
    planned = {key: value for key, value in entry.items() if key not in ("settings", "tasks", "evaluate")}
    return settings, record.get("task"), planned
