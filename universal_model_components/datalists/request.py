# SPDX-License-Identifier: Apache-2.0
"""The command line's request, validated before any work begins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..utils.settings import to_bool, to_optional
from .splits import check_fraction

STAGES = ("pretraining", "finetuning")
LICENSES = {  # as stated by the owners; the terms at the source take precedence; stored in the provenance of weights
    "luna2016": "CC BY 4.0; LIDC-IDRI, which it is made of: CC BY 3.0",
    "lits2017": "terms of the challenge, at its source",
    "brats2018": "data usage agreement of the challenge, at its source",
    "msd_heart": "CC BY-SA 4.0",
    "mmwhs": "terms of the challenge, at its source",
    "adni": "ADNI data use agreement, at its source",
}


@dataclass(frozen=True)
class Request:
    """The command line's request.

    Args:
        name: of the data set.
        root: folder that holds it; the datalist's paths are relative to it.
        output: datalist to write.
        seed: of the split.
        stage: "pretraining" or "finetuning".
        validation_fraction: share of the training patients, class by class, used for validation.
        allow_partial: write the datalist in spite of differences from the paper.
        num_workers: processes; None is one per core.
        stages: those that the data set has.
    """

    name: str
    root: Path
    output: Path
    seed: int = 0
    stage: str = "pretraining"
    validation_fraction: float = 0.2
    allow_partial: bool | str = False
    num_workers: int | None = None
    stages: tuple[str, ...] = STAGES

    def __post_init__(self) -> None:
        """Convert strings from the command line, and reject invalid values."""
        for key, value in (("root", self.root), ("output", self.output)):
            object.__setattr__(self, key, Path(os.path.abspath(os.path.expanduser(str(value)))))
        object.__setattr__(self, "allow_partial", to_bool(self.allow_partial, "allow_partial"))
        object.__setattr__(self, "num_workers", to_optional(self.num_workers))
        if not self.root.is_dir():
            raise ValueError(f"root: {self.root} is not a folder: give the one that {self.name} was unpacked into")
        if self.output.is_dir():
            raise ValueError(
                f"output: {self.output} is a folder: give the name of a file, for example {self.name}.json"
            )
        place = next(folder for folder in self.output.parents if folder.exists())
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise ValueError(f"output: nothing can be written in {place}: give another place")
        if self.stage not in self.stages:
            raise ValueError(f"stage: {self.stage!r} is not one of {list(self.stages)}, which {self.name} is used for")
        if not isinstance(self.seed, int):
            raise ValueError(f"seed: {self.seed!r} is not a whole number")
        if self.num_workers is not None and (not isinstance(self.num_workers, int) or self.num_workers < 0):
            raise ValueError(f"num_workers: {self.num_workers!r} is not a number of processes: give 0 or more, or null")
        check_fraction(self.validation_fraction, "validation_fraction")

    def to_dict(self) -> dict[str, Any]:
        """Return the first keys of the datalist."""
        return {
            "name": self.name,
            "license": LICENSES.get(self.name, "not stated"),
            "version": 1,
            "package_version": __version__,
            "seed": self.seed,
            "root": str(self.root),
            "stage": self.stage,
            "validation_fraction": self.validation_fraction,
        }
