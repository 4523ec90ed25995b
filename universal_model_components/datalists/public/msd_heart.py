# SPDX-License-Identifier: Apache-2.0
"""The heart of the Medical Segmentation Decathlon (paper IV-A.4): the 30 MRI of `imagesTr` and `imagesTs`.

They are used for pre-training. The paper uses no labels of this set, and has no test part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...imaging.scan_files import find_scans, stem
from ..findings import Findings
from ..making import Case, make_datalist
from ..request import Request

PARTS = {"imagesTr": 20, "imagesTs": 10}


def msd_heart(
    root: str,
    output: str,
    seed: int = 0,
    stage: str = "pretraining",
    validation_fraction: float = 0.2,
    allow_partial: bool | str = False,
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Make the datalist of MSD heart (Task02_Heart).

    Args:
        root: folder with imagesTr and imagesTs.
        output: datalist to write.
        seed: of the validation part.
        stage: "pretraining", the only one that the paper uses it for.
        validation_fraction: share of the 30 scans used for validation.
        allow_partial: continue when scans are missing or unreadable.
        num_workers: reading processes; one per core when absent.
    """
    request = Request(
        *("msd_heart", Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers),
        stages=("pretraining",),
    )
    findings = Findings()
    cases: dict[str, Case] = {}
    for part, size in PARTS.items():
        files = list(find_scans(request.root / part))
        if len(files) != size:
            findings.differences.append(f"{part}: {len(files)} scans, {size} expected")
        for file in files:
            name, image = f"msd_heart/{stem(file.name)}", file.relative_to(request.root).as_posix()
            if name in cases:
                findings.problems.append(f"{file}: occurs twice, see {cases[name]['image']}: skipped, remove one")
                continue
            cases[name] = {"image": image, "modality": "mri", "case": name, "group": name, "id": name, "stratum": ""}
    return make_datalist(request, list(cases.values()), set(), findings, {"": (30, 0)}, "scans")
