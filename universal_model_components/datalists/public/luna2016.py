# SPDX-License-Identifier: Apache-2.0
"""LUNA2016 (paper IV-A.1): `subset0` to `subset9` with MetaImage pairs, and the candidates of LNC (IV-B.3).

The paper's split is LUNA16's ten folds: 0 to 6 train (623 scans), 7 to 9 test (265). A series id does not identify
the patient; LIDC-IDRI's table does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...imaging.scan_files import find_scans
from ...tasks.candidates import outside, read_candidates
from ...utils.settings import to_optional
from ...utils.tables import find_table, read_table
from ..findings import Findings
from ..making import SPLITS, Case, make_datalist
from ..request import Request

FOLD_SIZES = (89, 89, 89, 89, 89, 89, 89, 89, 88, 88)
TEST_FOLDS = (7, 8, 9)
PAPER = {"": (623, 265)}
# candidates.csv: all and positive ones
PAPER_CANDIDATES = {"train and validation": (384_840, 968), "test": (166_225, 383)}
OTHER_CANDIDATES = {"train and validation": (None, None), "test": (None, None)}
SERIES = ("seriesuid", "Series UID", "SeriesInstanceUID", "Series Instance UID")
PATIENT = ("patient", "patient id", "Subject ID", "subject", "group")


def luna2016(
    root: str,
    output: str,
    seed: int = 0,
    stage: str = "pretraining",
    candidates: str = "candidates.csv",
    patients: str | None = None,
    validation_fraction: float = 0.2,
    allow_partial: bool | str = False,
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Make the datalist of LUNA2016: scans to pre-train on, or scans with their nodule candidates (LNC).

    Args:
        root: folder with subset0 to subset9 and the CSVs.
        output: datalist to write.
        seed: of the validation part.
        stage: "pretraining": scans alone; "finetuning": scans with candidates.
        candidates: the paper's candidates.csv, or candidates_V2.csv (the challenge's later list, without paper counts).
        patients: CSV that names the patient of each series, for example the metadata.csv of a download of LIDC-IDRI.
        validation_fraction: share of the training scans used for validation.
        allow_partial: continue when folds, scans or candidates are missing.
        num_workers: reading processes; one per core when absent.
    """
    request = Request(
        *("luna2016", Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers)
    )
    findings = Findings()
    cases = _find_series(request.root, findings)
    _name_patients(cases, request.root, to_optional(patients), findings)
    cases, test = _part(cases, findings)
    if stage == "pretraining":
        return make_datalist(request, cases, test, findings, PAPER, unit="scans")
    table = find_table(request.root, candidates, "candidates")
    _add_candidates(cases, table, findings)
    numbers = PAPER_CANDIDATES if table.name == "candidates.csv" else OTHER_CANDIDATES
    if numbers is OTHER_CANDIDATES:
        findings.notes.append(f"{table.name}: not the paper's list, whose numbers of candidates do not apply")
    check = partial(_check_candidates, numbers=numbers, findings=findings)
    return make_datalist(request, cases, test, findings, PAPER, "scans", check=check, candidates=table.name)


def _find_series(root: Path, findings: Findings) -> list[Case]:
    """Return the scans of the folds; a missing fold and one of another size are differences."""
    cases: list[Case] = []
    seen: dict[str, str] = {}
    for fold, size in enumerate(FOLD_SIZES):
        scans = [file for file in find_scans(root / f"subset{fold}") if file.suffix.lower() in (".mhd", ".mha")]
        if not scans:
            findings.differences.append(f"subset{fold}: missing or empty in {root}, {size} scans expected")
        elif len(scans) != size:
            findings.differences.append(f"subset{fold}: {len(scans)} scans, {size} expected")
        for file in scans:
            uid, image = file.stem, file.relative_to(root).as_posix()
            if uid in seen:
                findings.problems.append(f"{file}: series occurs twice, see {seen[uid]}: skipped, remove one")
                continue
            seen[uid] = image
            case = {"image": image, "modality": "ct", "case": f"luna2016/{uid}", "group": uid, "id": uid}
            cases.append({**case, "stratum": "", "fold": fold, "seriesuid": uid})
    return cases


def _name_patients(cases: list[Case], root: Path, table: Any, findings: Findings) -> None:
    if table is None:
        findings.notes.append("patients unknown: each series counts as one (give LIDC-IDRI's table as --patients)")
        return
    rows = read_table(find_table(root, table, "patients"), {"series": SERIES, "patient": PATIENT}, "patients")
    named = {row["series"]: row["patient"] for row in rows if row["patient"]}
    unnamed = [case["seriesuid"] for case in cases if case["seriesuid"] not in named]
    for case in cases:
        case["group"] = named.get(case["seriesuid"], case["group"])
    several = sum(count > 1 for count in Counter(case["group"] for case in cases).values())
    findings.notes.append(f"patients from {table}: {several} have more than one scan, {len(unnamed)} series unnamed")


def _part(cases: Sequence[Case], findings: Findings) -> tuple[list[Case], set[str]]:
    """Return the cases without training cases of test patients, and the patients of the test folds."""
    test = {case["group"] for case in cases if case["fold"] in TEST_FOLDS}
    kept = [case for case in cases if case["fold"] in TEST_FOLDS or case["group"] not in test]
    for case in cases:
        if case["fold"] not in TEST_FOLDS and case["group"] in test:
            findings.differences.append(f"{case['image']}: patient {case['group']} is in the test folds too: left out")
    return kept, test


def _add_candidates(cases: list[Case], table: Path, findings: Findings) -> None:
    """Give each scan its candidates as rows x, y, z (mm, LPS), class, in the order of the table."""
    listed = read_candidates(table, classes=True)
    for case in cases:
        case["candidates"] = [[x, y, z, int(kind)] for x, y, z, kind in listed.pop(case["seriesuid"], [])]
    if listed:
        lost = sum(map(len, listed.values()))
        findings.differences.append(f"{table.name}: {lost} candidates of {len(listed)} missing scans")


def _check_candidates(
    splits: Mapping[str, list[Case]], numbers: Mapping[str, tuple[int | None, int | None]], findings: Findings
) -> None:
    """Leave out candidates that lie outside their scan, and compare the numbers of the others."""
    for (name, expected), parts in zip(numbers.items(), (SPLITS[:2], SPLITS[2:]), strict=True):
        cases = [case for part in parts for case in splits[part]]
        for case in cases:
            shape, affine = case["grid"]
            rows = case["candidates"]
            is_outside = outside([row[:3] for row in rows], np.asarray(affine), shape)
            case["candidates"] = [row for row, is_out in zip(rows, is_outside, strict=True) if not is_out]
            if is_outside.any():
                findings.problems.append(f"{case['image']}: {is_outside.sum()} candidates lie outside it: left out")
        kinds = [row[3] for case in cases for row in case["candidates"]]
        findings.count(f"candidates {name}", len(kinds), expected[0])
        findings.count(f"positive candidates {name}", sum(kinds), expected[1])
