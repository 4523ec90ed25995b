# SPDX-License-Identifier: Apache-2.0
"""The datalist of anyone's own scans, in the layout that they have: the command `datalist folder`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..reading import stem
from ..settings import to_optional
from .findings import Findings
from .folder import find_cases, read_groups
from .labelled import find_pairs, find_rows, read_modality
from .making import Case, choose_test, make_datalist
from .request import Request
from .splits import check_fraction, strata_of
from .tables import find_table

TEST_FRACTION = 0.2  # of labelled scans


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

    The layout is found: a table when one is given; imagesTr with labelsTr (as in the Decathlon and nnU-Net; imagesTs
    with labelsTs, where both are there, is the test set); or else sub-folders ct, mri, … without labels, to pre-train.

    Args:
        root: folder of the scans.
        output: datalist to write.
        name: of the set; `prepare` wants different ones when it takes several datalists.
        table: CSV with columns image, label (path of a mask, or class 0, 1, …), and optionally group and modality.
        modality: of labelled scans, "ct" or "mri"; a dataset.json or the table's column may tell it.
        modalities: names of the sub-folders, and those that may occur.
        groups: CSV with columns case (or image) and group: the patient of each scan.
        seed: of the split.
        test_fraction: share of the patients that test; 0.2 of labelled scans, 0 for pre-training when absent.
        validation_fraction: share of the others that validates.
        test_ids: text file with one test patient (or case) a line, instead of drawing them.
        image_column: of the table, when not image.
        label_column: of the table, when not label.
        group_column: of the table, when not group, patient or subject.
        channel: to take where nnU-Net's images have several (name_0000, name_0001, …).
        allow_partial: go on without files that cannot be used; false refuses.
        num_workers: processes that read; one for each core when absent.
    """
    table, modality, groups, test_ids = (to_optional(value) for value in (table, modality, groups, test_ids))
    columns = {"image": image_column, "label": label_column, "group": group_column}
    is_labelled = table is not None or (Path(root) / "imagesTr").is_dir()
    stage = "finetuning" if is_labelled else "pretraining"
    request = Request(*(name, Path(root), Path(output), seed, stage, validation_fraction, allow_partial, num_workers))
    names = [modalities] if isinstance(modalities, str) else list(modalities)
    findings = Findings()
    given: list[Case] = []
    if table is not None:
        used = {key: to_optional(column) for key, column in columns.items()}
        cases, problems = find_rows(request.root, find_table(request.root, table, "table"), used, modality, names)
        findings.problems += problems
    elif is_labelled:
        cases, given = _find_folders(request.root, modality, names, to_optional(channel), findings)
    else:
        cases = _find_sub_folders(request.root, names, groups, findings)
    if is_labelled and groups is not None:
        named = read_groups(groups)
        for case in [*cases, *given]:
            case["group"] = named.get(stem(case["case"]), case["group"])
    fraction = to_optional(test_fraction)
    fraction = (TEST_FRACTION if is_labelled else 0) if fraction is None else check_fraction(fraction, "test_fraction")
    test = {case["group"] for case in given} or _choose(cases, fraction, seed, test_ids, findings)
    return make_datalist(
        request, [*cases, *given], test, findings, {c["stratum"]: (None, None) for c in cases}, "scans"
    )


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
    findings.notes.append(f"test cases are the {len(given)} of imagesTs and labelsTs")
    return cases, given


def _choose(cases: Sequence[Case], fraction: float, seed: int, test_ids: str | None, findings: Findings) -> set[str]:
    if not fraction and test_ids is None:
        return set()
    sizes = Counter(min(names) for names in strata_of(cases).values())
    shares = {name: max(1, round(fraction * size)) for name, size in sizes.items()}
    return choose_test(
        *(cases, {name: (size - shares[name], shares[name]) for name, size in sizes.items()}, seed, test_ids, findings)
    )
