# SPDX-License-Identifier: Apache-2.0
"""BraTS2018 (paper IV-A.3): `HGG/PATIENT/PATIENT_{flair,t1,t1ce,t2,seg}.nii.gz` and `LGG/…`, 190 and 95 patients.

The paper does not list the patients; they are drawn in proportion to the grades (HGG 140 and 70, LGG 50 and 25), or
read from a file. Pre-training uses the four contrasts of each training patient (760 volumes, Table I); BTS uses FLAIR
and the mask, whose every label above 0 is the whole tumor (IV-B.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...imaging.scan_files import find_scans, stem
from ..findings import Findings
from ..making import Case, MaskValues, choose_test, make_datalist
from ..request import Request

CONTRASTS = ("flair", "t1", "t1ce", "t2")
PAPER = {"HGG": (140, 70), "LGG": (50, 25)}


def brats2018(
    root: str,
    output: str,
    seed: int = 0,
    stage: str = "pretraining",
    test_ids: str | None = None,
    validation_fraction: float = 0.2,
    allow_partial: bool | str = False,
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Make the datalist of BraTS2018.

    Args:
        root: folder with HGG and LGG (the training data; the challenge's validation data have no masks).
        output: datalist to write.
        seed: of the split.
        stage: "pretraining": four contrasts per patient; "finetuning": FLAIR and the mask (BTS).
        test_ids: text file with one test patient a line (Brats18_…); drawn by grade when absent.
        validation_fraction: share of the training patients, by grade, used for validation.
        allow_partial: continue when patients are missing or files unreadable.
        num_workers: reading processes; one per core when absent.
    """
    request = Request(
        *("brats2018", Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers)
    )
    findings = Findings()
    cases = _find_patients(request.root, stage, findings)
    test = choose_test(cases, PAPER, seed, test_ids, findings)
    masks = MaskValues(allowed=(0, 1, 2, 4))
    check = partial(_check_volumes, findings=findings) if stage == "pretraining" else None
    return make_datalist(request, cases, test, findings, PAPER, "patients", masks, check)


def _check_volumes(splits: Mapping[str, list[Case]], findings: Findings) -> None:
    findings.count("volumes train and validation (Table I)", len(splits["training"]) + len(splits["validation"]), 760)


def patient_of(name: str) -> str:
    """Return the patient of a scan's name: Brats18_TCIA02_151_1 without the time point, the last number."""
    return re.sub(r"_\d+$", "", name)


def _find_patients(root: Path, stage: str, findings: Findings) -> list[Case]:
    """Return the cases of both grades; one without its contrast or mask is marked, and skipped after the split."""
    cases: list[Case] = []
    wanted = {"flair": ("flair", "seg")} if stage == "finetuning" else {name: (name,) for name in CONTRASTS}
    for grade in PAPER:
        folders = [folder for folder in (root / grade, *sorted(root.glob(f"*/{grade}"))) if folder.is_dir()]
        if not folders:
            findings.differences.append(f"{grade}: no such folder in {root}")
        files = {stem(file.name): file for folder in folders for file in find_scans(folder)}
        for name in sorted({file.parent.name for file in files.values()}):
            base = {"modality": "mri", "group": patient_of(name), "id": name, "stratum": grade}
            for contrast, parts in wanted.items():
                there = [files[f"{name}_{part}"] for part in parts if f"{name}_{part}" in files]
                lacking = [f"{name}_{part}.nii.gz" for part in parts if f"{name}_{part}" not in files]
                paths = dict(
                    zip(("image", "label"), (file.relative_to(root).as_posix() for file in there), strict=False)
                )
                case: Case = {**paths, "case": f"brats2018/{name}_{contrast}", **base, "contrast": contrast}
                if lacking:
                    case["problem"] = f"{grade}/{name}: no {lacking[0]}: skipped, unpack it again"
                cases.append(case)
    return cases
