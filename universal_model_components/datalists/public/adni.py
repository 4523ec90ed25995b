# SPDX-License-Identifier: Apache-2.0
"""ADNI (paper IV-A.6): T1 MRI and a CSV of subject and diagnosis; 37 AD and 45 NC subjects train, 10 AD and 11 NC test.

The paper uses the category "spatially normalized, masked, and N3-corrected T1 images" of 47 AD and 56 NC; the CSV of
the download identifies these subjects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ...imaging.scan_files import find_scans, stem
from ...utils.settings import to_optional
from ...utils.tables import find_table, read_table
from ..findings import Findings
from ..making import Case, choose_test, make_datalist
from ..request import Request

PAPER = {"AD": (37, 10), "NC": (45, 11)}
CLASSES = {"AD": "AD", "NC": "NC", "CN": "NC", "NL": "NC", "DEMENTIA": "AD", "NORMAL": "NC"}
SUBJECT = re.compile(r"\d{3}_S_\d{4,5}")
IMAGE = re.compile(r"_I(\d+)$")
COLUMNS = {
    "subject": ("Subject", "subject_id", "PTID", "Subject ID"),
    "diagnosis": ("Group", "diagnosis", "DX", "DX_bl", "Research Group", "label"),
    "image": ("Image Data ID", "Image ID", "image"),
}


def adni(
    root: str,
    output: str,
    table: str | None = None,
    seed: int = 0,
    stage: str = "finetuning",
    test_ids: str | None = None,
    validation_fraction: float = 0.2,
    allow_partial: bool | str = False,
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Make the datalist of ADNI: AD is class 1, NC class 0; one scan per subject, the earliest.

    Args:
        root: folder of the archive's download, NIfTI in one file or two at any depth, subject id (002_S_0295) in the
            path.
        output: datalist to write.
        table: CSV with columns Subject and Group (AD, CN or NC; others are skipped); the one in root when absent.
        seed: of the split.
        stage: "finetuning", the only one that the paper uses it for.
        test_ids: text file with one test subject a line; drawn by class when absent.
        validation_fraction: share of the training subjects of each class used for validation.
        allow_partial: continue when subjects are missing or more than the paper's.
        num_workers: reading processes; one per core when absent.
    """
    request = Request(
        *("adni", Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers),
        stages=("finetuning",),
    )
    findings = Findings()
    cases = _find_subjects(request.root, _table(request.root, to_optional(table)), findings)
    test = choose_test(cases, PAPER, seed, test_ids, findings)
    return make_datalist(request, cases, test, findings, PAPER, "subjects", classes={"NC": 0, "AD": 1})


def _table(root: Path, table: Any) -> Path:
    if table is not None:
        return find_table(root, table, "table")
    files = sorted(file for file in root.glob("*.csv") if not file.name.startswith("."))
    if len(files) != 1:
        raise ValueError(f"table: {len(files)} CSV files in {root}: name the one of subjects and diagnoses")
    return files[0]


def _find_subjects(root: Path, table: Path, findings: Findings) -> list[Case]:
    """Return one case per subject of the two classes; mismatches between table and scans are reported."""
    rows = list(read_table(table, COLUMNS, "table", optional=("image",)))
    diagnoses: dict[str, str] = {}
    for row in (row for row in rows if row["diagnosis"]):
        known = diagnoses.setdefault(row["subject"], row["diagnosis"].upper())
        if known != row["diagnosis"].upper():
            raise ValueError(
                f"table: {table}: subject {row['subject']} is {known} and {row['diagnosis']}: keep one row"
            )
    scans = _scans(root, {row["image"].lstrip("I") for row in rows if row.get("image")}, findings)
    kinds = {subject: diagnoses.get(subject, "not in the table") for subject in scans}
    for kind, count in sorted(Counter(kinds.values()).items()):
        if kind not in CLASSES:
            findings.notes.append(f"{count} subjects with diagnosis {kind!r}: skipped")
    missing = [subject for subject, kind in diagnoses.items() if kind in CLASSES and subject not in scans]
    if missing:
        findings.differences.append(f"{table.name}: no scan of {len(missing)} subjects, the first is {missing[0]}")
    taken = {subject: CLASSES[kind] for subject, kind in sorted(kinds.items()) if kind in CLASSES}
    several = sum(len(scans[subject]) > 1 for subject in taken)
    if several:
        findings.notes.append(f"{several} subjects have more than one scan: the earliest is taken")
    cases = []
    for subject, kind in taken.items():
        case = {"image": min(scans[subject])[1], "label": int(kind == "AD"), "modality": "mri"}
        cases.append({**case, "case": f"adni/{subject}", "group": subject, "id": subject, "stratum": kind})
    return cases


def _scans(root: Path, listed: Collection[str], findings: Findings) -> dict[str, list[tuple[str, str]]]:
    """Return day and path of each subject's scans; images that the table does not list are from other searches."""
    scans: dict[str, list[tuple[str, str]]] = {}
    for file in find_scans(root):
        path = file.relative_to(root).as_posix()
        subject, image = SUBJECT.search(path), IMAGE.search(stem(path))
        if subject is None:
            findings.problems.append(f"{file}: no subject id like 002_S_0295 in the path: skipped, rename it")
        elif not listed or image is None or image[1] in listed:
            scans.setdefault(subject[0], []).append((_day(path), path))
    return scans


def _day(path: str) -> str:
    """Return the day in the archive's folder names (2006-04-18_08_20_30.0), a late date where there is none."""
    found = re.search(r"/(\d{4}-\d{2}-\d{2})_", path)
    return found[1] if found else "9999"
