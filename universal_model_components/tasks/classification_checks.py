# SPDX-License-Identifier: Apache-2.0
"""Checks of a classification task's samples: missing classes, and candidates outside their scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..imaging.reading import read_grid
from ..imaging.scan_files import find_scans, names_of
from .candidates import check_inside, read_candidates
from .classification_data import CLASSES, check_classes, sample_labels
from .findings import ERROR, FINE, WARNING, Finding


def check_samples(case: Mapping[str, Any], where: str) -> None:
    """Check that a case states the class of its samples, and that its candidates lie inside its scan.

    Args:
        case: entry of a datalist with the absolute path of its image.
        where: position of the entry, for messages.

    Raises:
        ValueError: when a header cannot be read, a class is missing, or candidates lie outside; one line.
    """
    check_classes(case, where)
    shape, affine = read_grid(case["image"])
    if "candidates" in case:
        check_inside(case, affine, shape)


def missing_classes(datalist: str | Path, split: str, cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each class without samples in a list."""
    labels = sample_labels(cases)
    for label, name in ((1, "positives"), (0, "negatives"))[:CLASSES]:
        if not (labels == label).any():
            yield (
                f"datalist: {datalist}: zero {name} (class {label}) among the {len(labels)} samples of {split!r}: both "
                "classes are needed to train, and for an AUC: add some, or split otherwise"
            )


def check_candidates(file: str | Path, dataset_dir: str | Path) -> Iterator[Finding]:
    """Check a CSV of candidates: its columns and values, a scan for each series, each candidate inside its scan."""
    try:
        listed = read_candidates(file)
        scans = {name: scan for scan in find_scans(Path(dataset_dir)) for name in names_of(scan)}
        unknown = [series for series in listed if series not in scans]
        if unknown:
            text = f"{len(unknown)} of {len(listed)} series have no scan below {dataset_dir}, first {unknown[0]}"
            yield Finding(ERROR if len(unknown) == len(listed) else WARNING, f"candidates: {file}: {text}")
        for series in (name for name in listed if name in scans):
            shape, affine = read_grid(scans[series])
            check_inside({"image": str(scans[series]), "candidates": listed[series]}, affine, shape)
        yield Finding(
            FINE, f"candidates: {sum(map(len, listed.values()))} candidates of {len(listed)} series in {file}"
        )
    except ValueError as error:
        yield Finding(ERROR, str(error))
