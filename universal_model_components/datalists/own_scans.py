# SPDX-License-Identifier: Apache-2.0
"""The datalist of a user's own scans, in their existing layout: the command `datalist folder`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..imaging.scan_files import stem
from ..utils.settings import to_optional
from ..utils.tables import find_table
from .findings import Findings
from .folder import find_cases, read_groups
from .labeled import find_pairs, find_rows, read_modality
from .making import Case, choose_test, make_datalist
from .request import Request
from .splits import check_fraction, strata_of

TEST_FRACTION = 0.2  # of labeled scans


def folder(
    root: str,
    output: str,
    name: str = "folder",
    table: str | None = None,
    modality: str | None = None,
    modalities: Sequence[str] = ("ct", "mri"),
    groups: str | None = None,
    seed: int = 0,
    test_fraction: float | None = None,
    validation_fraction: float = 0.2,
    test_ids: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    channel: int | None = None,
    allow_partial: bool | str = True,
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Make the datalist of your own scans.

    The layout is detected: a table when one is given; imagesTr with labelsTr (as in the Decathlon and nnU-Net; imagesTs
    with labelsTs, if both exist, is the test set); or else sub-folders ct, mri, … without labels, for pre-training.

    Args:
        root: folder of the scans.
        output: datalist to write.
        name: of the set; `prepare` requires different ones for several datalists.
        table: CSV with columns image, label (path of a mask, or class 0, 1, …), and optionally group and modality.
        modality: of labeled scans, "ct" or "mri"; a dataset.json or the table's column may give it.
        modalities: names of the sub-folders, and those that may occur.
        groups: CSV with columns case (or image) and group: the patient of each scan.
        seed: of the split.
        test_fraction: share of the patients used for testing; by default 0.2 for labeled scans, 0 for pre-training.
        validation_fraction: share of the others used for validation.
        test_ids: text file with one test patient (or case) a line, instead of drawing them.
        image_column: of the table, when not image.
        label_column: of the table, when not label.
        group_column: of the table, when not group, patient or subject.
        channel: to use where nnU-Net's images have several (name_0000, name_0001, …).
        allow_partial: continue without unusable files; false raises an error.
        num_workers: reading processes; one per core when absent.
    """
    table, modality, groups, test_ids = (to_optional(value) for value in (table, modality, groups, test_ids))
    is_labeled = table is not None or (Path(root) / "imagesTr").is_dir()
    stage = "finetuning" if is_labeled else "pretraining"
    request = Request(*(name, Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers))
    names, findings = [modalities] if isinstance(modalities, str) else list(modalities), Findings()
    given: list[Case] = []
    if table is not None:
        columns = {"image": image_column, "label": label_column, "group": group_column}
        cases = _find_table(request.root, table, columns, modality, names, findings)
    elif is_labeled:
        cases, given = _find_folders(request.root, modality, names, to_optional(channel), findings)
    else:
        cases = _find_sub_folders(request.root, names, groups, findings)
    if is_labeled and groups is not None:
        _name_patients([*cases, *given], groups, findings)
    test = _test_groups(request, cases, given, to_optional(test_fraction), test_ids, findings)
    paper = {case["stratum"]: (None, None) for case in [*cases, *given]}
    return make_datalist(request, [*cases, *given], test, findings, paper, "scans")


def _find_table(
    root: Path,
    table: str,
    columns: Mapping[str, str | None],
    modality: str | None,
    modalities: Sequence[str],
    findings: Findings,
) -> list[Case]:
    used = {key: to_optional(column) for key, column in columns.items()}
    cases, problems = find_rows(root, find_table(root, table, "table"), used, modality, modalities)
    findings.problems += problems
    return cases


def _name_patients(cases: Sequence[Case], file: str, findings: Findings) -> None:
    """Read the patients of labeled scans, by path or, where unique, by name (la_003); report rows without a match."""
    named = read_groups(file)
    counts = Counter(case["id"] for case in cases)
    used = set()
    for case in cases:
        names = [stem(case["image"])] + [case["id"]] * (counts[case["id"]] == 1)
        name = next((name for name in names if name in named), None)
        if name is not None:
            case["group"] = named[name]
            used.add(name)
    findings.problems += [f"groups: no scan, or several, named {n!r}: correct {file}" for n in named if n not in used]
    if len(used) < len(cases):
        findings.notes.append(f"{len(cases) - len(used)} scans are not in {file}: each counts as a patient")


def _find_sub_folders(root: Path, modalities: Sequence[str], groups: str | None, findings: Findings) -> list[Case]:
    cases, problems = find_cases(root, modalities, groups)
    findings.problems += problems
    return [{**case, "stratum": case["modality"], "id": stem(Path(case["case"]).name)} for case in cases]


def _find_folders(
    root: Path, modality: str | None, modalities: Sequence[str], channel: int | None, findings: Findings
) -> tuple[list[Case], list[Case]]:
    """Return the cases of imagesTr, and those of imagesTs where they have labels."""
    kind = read_modality(root, modality, modalities)
    cases, problems = find_pairs(root, "Tr", kind, channel)
    findings.problems += problems
    if not (root / "labelsTs").is_dir():
        return cases, []
    given, problems = find_pairs(root, "Ts", kind, channel)
    findings.problems += problems
    if given:
        findings.notes.append(f"test cases are the {len(given)} of imagesTs and labelsTs")
    return cases, given


def _test_groups(
    request: Request,
    cases: Sequence[Case],
    given: Sequence[Case],
    fraction: float | None,
    test_ids: str | None,
    findings: Findings,
) -> set[str]:
    """Return the test patients: those of imagesTs if there are any, otherwise drawn or read from a file.

    Raises:
        ValueError: when imagesTs is the test set but another one is requested, or the fraction is wrong.
    """
    if given and (fraction is not None or test_ids is not None):
        key = "test_ids" if fraction is None else "test_fraction"
        raise ValueError(f"{key}: {request.root} has its test in imagesTs and labelsTs: leave the option out")
    if given:
        return _held_out(cases, given, findings)
    default = TEST_FRACTION if request.stage == "finetuning" else 0.0
    fraction = default if fraction is None else check_fraction(fraction, "test_fraction")
    return _choose(cases, fraction, request.seed, test_ids, findings)


def _held_out(cases: Sequence[Case], given: Sequence[Case], findings: Findings) -> set[str]:
    """Return the patients of imagesTs; their scans in imagesTr must not be used for training."""
    test = {case["group"] for case in given}
    shared = sum(case["group"] in test for case in cases)
    if shared:
        findings.notes.append(f"{shared} scans of imagesTr are of patients of imagesTs: they test too")
    return test


def _choose(cases: Sequence[Case], fraction: float, seed: int, test_ids: str | None, findings: Findings) -> set[str]:
    if not fraction and test_ids is None:
        return set()
    sizes = Counter(min(names) for names in strata_of(cases).values())
    shares = {name: max(1, round(fraction * size)) for name, size in sizes.items()}
    return choose_test(
        *(cases, {name: (size - shares[name], shares[name]) for name, size in sizes.items()}, seed, test_ids, findings)
    )
