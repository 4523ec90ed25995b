# SPDX-License-Identifier: Apache-2.0
"""What an experiment consists of: jobs, each a few calls of `monai.bundle run`, and where they find and leave files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STORE, PRETRAINING, RUN = "store", "pretraining", "run"
FOLDERS = {STORE: "stores", PRETRAINING: "pretraining", RUN: "runs"}
DIGITS = 8  # of the digests in names


@dataclass(frozen=True)
class Step:
    """One call of `monai.bundle run`.

    Args:
        name: of the step; its settings, log and outputs are named by it.
        configs: files, in the order in which one replaces keys of another.
        settings: top-level keys to replace.
    """

    name: str
    configs: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What runs in one folder, and leaves one record there.

    Args:
        name: of the folder; unique.
        kind: "store", "pretraining" or "run".
        folder: of the job.
        steps: in their order.
        needs: names of the jobs that must have finished.
        facts: what its record says about it.
    """

    name: str
    kind: str
    folder: Path
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> Path:
        """File that its training writes."""
        return self.folder / "models" / "model.pt"


@dataclass(frozen=True)
class Places:
    """Folders of an experiment, absolute.

    Args:
        output: of everything that it writes.
        data: that the grid's paths are relative to.
        bundles: where the bundles are.
    """

    output: Path
    data: Path
    bundles: Path

    def configs(self, bundle: str, *names: str) -> tuple[str, ...]:
        """Return config files of a bundle.

        Raises:
            ValueError: when one is missing.
        """
        files = [self.bundles / bundle / "configs" / name for name in names]
        for file in files:
            if not file.is_file():
                raise ValueError(f"bundles: no file {file}: give the bundles' folder by --bundles DIR")
        return tuple(map(str, files))
