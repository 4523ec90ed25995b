# SPDX-License-Identifier: Apache-2.0
"""MMWHS (paper IV-A.5): 20 CT and 20 MRI of unpaired patients with masks, 16 to train on and 4 to test of each.

`ct_train/ct_train_1001_{image,label}.nii.gz`, `mr_train/mr_train_1001_…`. The left atrium, the target of LAS, is label
420; one MRI mask is known to hold a stray 421.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...imaging.scan_files import find_scans, stem
from ...utils.settings import to_optional
from ..findings import Findings
from ..making import Case, MaskValues, choose_test, make_datalist
from ..request import Request

LEFT_ATRIUM = 420
LABELS = (0, 205, 420, 500, 550, 600, 820, 850)
MODALITIES = {"ct": "ct", "mr": "mri"}  # by the prefix of the names


def mmwhs(
    root: str,
    output: str,
    modality: str | None = None,
    seed: int = 0,
    stage: str = "finetuning",
    test_ids: str | None = None,
    validation_fraction: float = 0.2,
    allow_partial: bool | str = False,
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Make the datalist of MMWHS, for LAS in CT, in MRI, or of both.

    Args:
        root: folder with ct_train and mr_train at any depth.
        output: datalist to write.
        modality: "ct" (LAS-CT) or "mri" (LAS-MRI); both when absent.
        seed: of the split; each modality's split is independent of the other.
        stage: "finetuning", the only one that the paper uses it for.
        test_ids: text file with one test case a line (ct_train_1001, …); drawn when absent.
        validation_fraction: share of the training cases of each modality used for validation.
        allow_partial: continue when cases are missing or files unreadable.
        num_workers: reading processes; one per core when absent.
    """
    request = Request(
        *("mmwhs", Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers),
        stages=("finetuning",),
    )
    wanted = list(MODALITIES.values()) if to_optional(modality) is None else [modality]
    if not set(wanted) <= set(MODALITIES.values()):
        raise ValueError(f"modality: {modality!r} is neither 'ct' nor 'mri'")
    findings, paper = Findings(), {str(name): (16, 4) for name in wanted}
    cases = [case for case in _find_cases(request.root) if case["modality"] in paper]
    test = choose_test(cases, paper, seed, test_ids, findings)
    masks = MaskValues(allowed=LABELS, required=(LEFT_ATRIUM,), strays=(421,))
    return make_datalist(request, cases, test, findings, paper, "patients", masks, left_atrium=LEFT_ATRIUM)


def _find_cases(root: Path) -> list[Case]:
    """Return images with their labels; an incomplete pair is marked, and skipped after the split."""
    found: dict[tuple[str, str], str] = {}
    for file in find_scans(root):
        match = re.fullmatch(r"((?:ct|mr)_train_\d+)_(image|label)", stem(file.name))
        if match:
            found.setdefault((match[1], match[2]), file.relative_to(root).as_posix())
    cases = []
    for name in sorted({name for name, _ in found}):
        lacking = next((part for part in ("image", "label") if (name, part) not in found), None)
        modality = MODALITIES[name[:2]]
        case = {"image": found.get((name, "image")), "label": found.get((name, "label")), "modality": modality}
        case |= {"case": f"mmwhs/{name}", "group": f"mmwhs/{name}", "id": name, "stratum": modality}
        if lacking:
            case["problem"] = f"{root}/…/{name}_{lacking}.nii.gz: missing: {name} skipped, unpack it again"
        cases.append(case)
    return cases
