# SPDX-License-Identifier: Apache-2.0
"""Checks of a datalist and its scans before training: all errors at once.

`check_datalist` reads every header, and every voxel on request. `doctor` prints the findings; `initialize` of a
task's train.json calls `check_cases`, which raises the errors that would stop training.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..datalists.reader import entries_of, open_datalist
from ..imaging.errors import ScanError
from ..imaging.labels import Labels
from ..imaging.normalization import make_scan
from ..imaging.reading import read_grid, read_scan
from ..utils.settings import to_optional
from .findings import ERROR, FINE, NEEDED, WARNING, Finding
from .segmentation_data import check_entry

logger = logging.getLogger(__name__)


def check_datalist(
    datalist: str | Path,
    dataset_dir: str | Path,
    segmentation: bool = True,
    label_values: Any = None,
    intensity_range: Sequence[float] | None = None,
    intensity_scale: str = "volume",
    voxels: bool = False,
) -> list[Finding]:
    """Check every case of a task's datalist.

    Args:
        datalist: JSON with the lists "training", "validation" and optionally "test"; an error in a test case is only
            a warning, because training does not read it.
        dataset_dir: folder that paths are relative to.
        segmentation: whether `label` is a mask; otherwise it is a class, or there are `candidates`.
        label_values: which values of a mask are foreground, see `labels.Labels`.
        intensity_range: window, see `normalization.normalize`.
        intensity_scale: see there.
        voxels: read every scan and mask completely, not only their headers.

    Returns:
        The errors and warnings, or one finding without either, for each list.
    """
    findings: list[Finding] = []
    groups: dict[str, set[str]] = {}
    masks = Labels(label_values) if segmentation else None
    try:
        content = open_datalist(datalist)
        lists = {split: entries_of(content, datalist, split) for split in (*NEEDED, "test")}
    except ValueError as error:
        return [Finding(ERROR, str(error))]
    for split, entries in lists.items():
        cases, found = _check_list(datalist, dataset_dir, split, entries, segmentation)
        groups[split] = {str(case.get("group", case["case"])) for case in cases}
        findings += found
        if voxels:
            findings += _check_voxels(split, cases, masks, to_optional(intensity_range), intensity_scale, _level(split))
    return findings + list(_check_leaks(datalist, groups))


def _level(split: str) -> str:
    """Return how much an error in a list matters: training does not read the test list."""
    return ERROR if split in NEEDED else WARNING


def _check_list(
    datalist: str | Path, dataset_dir: str | Path, split: str, entries: Sequence[Any], segmentation: bool
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Check one list by its headers; return the usable cases, and what was found."""
    wrong: list[str] = []
    cases = list(_good_cases(datalist, dataset_dir, split, entries, segmentation, wrong))
    if cases and not segmentation:
        from .classification_checks import missing_classes

        wrong += missing_classes(datalist, split, cases)
    findings = [Finding(_level(split), message) for message in wrong]
    if not entries and split in NEEDED:
        findings.append(_none_there(datalist, split, segmentation))
    elif entries and not wrong:
        findings.append(Finding(FINE, f"datalist: {len(cases)} {split!r} cases, headers read"))
    return cases, findings


def _none_there(datalist: str | Path, split: str, segmentation: bool) -> Finding:
    text = f"datalist: {datalist} has no {split!r} cases: add some"
    if split == "validation" and not segmentation:
        return Finding(WARNING, f"{text}, or the last epoch's model is kept")
    return Finding(ERROR, text)


def check_cases(datalist: str | Path, *arguments: Any, **settings: Any) -> None:
    """`check_datalist` for `initialize`: warnings and all errors but the first go to the log.

    A missing datalist is not an error here: a server such as MONAI Label supplies its own cases.

    Raises:
        ValueError: the first error and how many more there are.
    """
    if not Path(datalist).is_file():
        return
    findings = check_datalist(datalist, *arguments, **settings)
    errors = [finding.message for finding in findings if finding.level == ERROR]
    if int(os.environ.get("RANK", "0")) == 0:
        for message in [finding.message for finding in findings if finding.level == WARNING] + errors[1:]:
            logger.warning(message)
    if errors:
        more = f" (and {len(errors) - 1} more, in the log; `doctor` lists them too)" if errors[1:] else ""
        raise ValueError(f"{errors[0]}{more}")


def _good_cases(
    datalist: str | Path,
    dataset_dir: str | Path,
    split: str,
    entries: Sequence[Any],
    segmentation: bool,
    found: list[str],
) -> Iterator[dict[str, Any]]:
    """Yield the usable cases, and append what is wrong with the others."""
    keys, check_label = ("image", "label") if segmentation else ("image",), _check_mask
    if not segmentation:  # imported here: segmentation needs no candidates
        from .classification_checks import check_samples

        check_label = check_samples
    seen: set[str] = set()
    for number, entry in enumerate(tqdm(entries, f"headers, {split}", disable=len(entries) < 50)):
        where = f"datalist: {datalist}: {split}[{number}]"
        try:
            case = check_entry(where, entry, Path(dataset_dir), keys)
            if case["case"] in seen:
                raise ValueError(f"{where}: case {case['case']!r} occurs twice in {split!r}: remove or rename one")
            seen.add(case["case"])
            check_label(case, where)
        except ValueError as error:
            found.append(str(error))
        else:
            yield case


def _check_mask(case: Mapping[str, Any], where: str) -> None:
    if not isinstance(case["label"], str):
        raise ValueError(f"{where}: label is {case['label']!r}, expected the path of a mask")
    read_grid(case["image"])


def _check_leaks(datalist: str | Path, groups: Mapping[str, set[str]]) -> Iterator[Finding]:
    for split, other in (("training", "validation"), ("training", "test"), ("validation", "test")):
        both = sorted(groups.get(split, set()) & groups.get(other, set()))
        if both:
            yield Finding(
                WARNING,
                f"datalist: {datalist}: {len(both)} patients are in {split!r} and in {other!r}, first {both[0]!r}: "
                "figures would be too good: keep each in one",
            )


def _check_voxels(
    split: str,
    cases: Sequence[Mapping[str, Any]],
    labels: Labels | None,
    window: Sequence[float] | None,
    scale: str,
    level: str,
) -> Iterable[Finding]:
    """Read each scan, and each mask where there are `labels`."""
    empty, masks = [], 0
    for case in tqdm(cases, f"voxels, {split}", unit="scan", disable=len(cases) < 10):
        try:
            scan = make_scan(case["image"], *read_scan(case["image"]), window, scale, spacing=None)
            yield from (Finding(WARNING, note) for note in scan.notes)
            if labels is not None:
                mask, _ = read_scan(case["label"])
                masks += 1
                if not labels.merge(torch.from_numpy(mask.astype("float32")), case["label"]).any():
                    empty.append(case["label"])
        except ScanError as error:
            yield Finding(level, str(error))
    if empty:
        none_left = len(empty) == masks and split in NEEDED
        hint = "no IoU can be computed, nothing learned: see label_values" if none_left else "reported, in no mean"
        text = f"{split}: {len(empty)} of {masks} masks are empty, first {empty[0]}: {hint}"
        yield Finding(ERROR if none_left else WARNING, text)
    if cases:
        yield Finding(FINE, f"{split}: voxels of {len(cases)} cases read")
