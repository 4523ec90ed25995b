# SPDX-License-Identifier: Apache-2.0
"""LiTS2017 (paper IV-A.2): `volume-N.nii` and `segmentation-N.nii`, 111 to train on and 19 to test, drawn at random.

The challenge ships 131 labeled scans, 0 to 130; the paper counts 130, so number 130 is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...imaging.scan_files import find_scans, stem
from ...utils.settings import to_optional
from ..findings import Findings
from ..making import Case, MaskValues, choose_test, make_datalist
from ..request import Request

SCANS = 130
FIXED = {"validation": (100, 114), "test": (115, 129)}  # the alternative split, inclusive; 0 to 99 train
PAPER = {"": (111, 19)}
FIXED_SIZES = {"": (115, 15)}  # what the fixed split must have


def lits2017(
    root: str,
    output: str,
    seed: int = 0,
    stage: str = "pretraining",
    split: str = "random",
    test_ids: str | None = None,
    validation_fraction: float = 0.2,
    allow_partial: bool | str = False,
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Make the datalist of LiTS2017.

    Args:
        root: folder with volume-N.nii and segmentation-N.nii at any depth.
        output: datalist to write.
        seed: of the split.
        stage: "pretraining": volumes alone; "finetuning": with segmentations (0 background, 1 liver, 2 tumor).
        split: "random": 111 and 19, the paper's; "fixed": 0-99 train, 100-114 validate, 115-129 test.
        test_ids: text file with the numbers of the test volumes, one a line; drawn when absent.
        validation_fraction: share of the training volumes used for validation (random split).
        allow_partial: continue when volumes are missing or unreadable.
        num_workers: reading processes; one per core when absent.
    """
    request = Request(
        *("lits2017", Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers)
    )
    findings = Findings()
    cases = _find_volumes(request.root, stage, findings)
    paper, validation = PAPER, None
    if split == "fixed":
        test, validation = _fixed(cases, test_ids, findings)
        paper = FIXED_SIZES
    elif split == "random":
        test = choose_test(cases, PAPER, seed, test_ids, findings)
    else:
        raise ValueError(f"split: {split!r} is neither 'random' nor 'fixed'")
    masks = MaskValues(allowed=(0, 1, 2), required=(1,))
    return make_datalist(request, cases, test, findings, paper, "scans", masks, validation=validation, split=split)


def _fixed(cases: Sequence[Case], test_ids: str | None, findings: Findings) -> tuple[set[str], set[str]]:
    """Return the test and the validation groups of the split by number."""
    if to_optional(test_ids) is not None:
        raise ValueError(f"test_ids: {test_ids!r} and split 'fixed' both say who tests: leave one out")
    findings.notes.append("fixed split by number, 100 + 15 and 15: the paper's 111 and 19 do not apply")
    test, validation = (
        {case["group"] for case in cases if low <= int(case["id"]) <= high}
        for low, high in (FIXED["test"], FIXED["validation"])
    )
    return test, validation


def _find_volumes(root: Path, stage: str, findings: Findings) -> list[Case]:
    """Return the volumes by number, with their segmentations for fine-tuning."""
    found: dict[tuple[str, int], str] = {}
    for file in find_scans(root):
        match = re.fullmatch(r"(volume|segmentation)-(\d+)", stem(file.name))
        if not match:
            continue
        key, path = (match[1], int(match[2])), file.relative_to(root).as_posix()
        if key in found:
            findings.problems.append(f"{file}: {match[0]} occurs twice, see {found[key]}: skipped, remove one")
        else:
            found[key] = path
    numbers = sorted(number for kind, number in found if kind == "volume")
    for number in sorted({number for number in numbers if number >= SCANS}):
        findings.notes.append(f"volume-{number} left out: the paper has {SCANS} scans, 0 to {SCANS - 1}")
    cases = []
    for number in (number for number in numbers if number < SCANS):
        name = f"lits2017/volume-{number}"
        case = {"image": found["volume", number], "modality": "ct", "case": name, "group": name, "id": str(number)}
        if stage == "finetuning":
            if ("segmentation", number) not in found:
                case["problem"] = f"{root}/…/segmentation-{number}.nii: missing: volume-{number} skipped"
            else:
                case["label"] = found["segmentation", number]
        cases.append({**case, "stratum": ""})
    return cases
