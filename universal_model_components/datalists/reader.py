# SPDX-License-Identifier: Apache-2.0
"""Read and check MONAI datalists in JSON, which others may have made.

`read_datalist` completes one for pre-training. `tasks.segmentation_data` checks what target tasks require of an entry.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..imaging.scan_files import stem

SPLITS = ("training", "validation")


def open_datalist(file: str | Path) -> dict[str, Any]:
    """Read a datalist: lists of cases by split, and its other keys.

    Raises:
        ValueError: when the file cannot be read, or is not a mapping.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: nested too deep
        raise ValueError(
            f"datalist: cannot read {file} ({error}): give a MONAI datalist in JSON, or make one (see README)"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"datalist: {file} holds {type(content).__name__}, expected a mapping of lists of cases")
    return content


def entries_of(content: Mapping[str, Any], file: str | Path, split: str) -> list[Any]:
    """Return one list of a datalist unchanged, empty if missing.

    Raises:
        ValueError: when it is not a list.
    """
    entries = content.get(split)
    if not isinstance(entries, (list, type(None))):
        raise ValueError(f"datalist: {file}: {split!r} is not a list: give a list of cases, or null")
    return entries or []


def check_keys(where: str, entry: Any, keys: Sequence[str]) -> None:
    """Check that an entry is a mapping with certain keys, its image a path, and its case and group names or numbers.

    Args:
        where: position of the entry, for the message.
        entry: of a datalist.
        keys: that it must have.

    Raises:
        ValueError: when it is not.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is {entry!r}, expected a mapping with {list(keys)}")
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"{where} has no {missing[0]!r} (found {sorted(entry)}): add it")
    for key, expected, kinds in (
        ("image", "a path", str),
        ("case", "a name", (str, int)),
        ("group", "a name", (str, int)),
    ):
        if key in entry and (not isinstance(entry[key], kinds) or entry[key] == ""):
            raise ValueError(f"{where}: {key} is {entry[key]!r}, expected {expected}: correct it")


def read_datalist(file: str | Path, modalities: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Read a MONAI datalist for pre-training; its entries need the keys image and modality.

    Missing keys `case` and `group` are filled: the case is modality/image path, the group is the case. A `validation`
    that is null is left out. Other lists, a test set for example, are kept unchanged.

    Returns:
        The datalist, and one line for each entry that had to be skipped: missing key, unknown modality, an id twice.

    Raises:
        ValueError: when the file is unreadable, has no `training` list or an invalid `validation`, or a case or
            group is in both splits.
    """
    content = {key: value for key, value in open_datalist(file).items() if key not in SPLITS or value is not None}
    if "training" not in content:
        raise ValueError(f"datalist: {file} has no list 'training': give a MONAI datalist, or null")
    splits, problems = _read_splits(content, file, modalities)
    groups = {case["group"] for case in splits["training"]} & {case["group"] for case in splits.get("validation", [])}
    if groups:
        raise ValueError(f"datalist: {file} has {_list('group', groups)} in training and validation: keep it in one")
    return {"name": "given", "version": 1, **content, **splits}, problems


def _read_splits(
    content: Mapping[str, Any], file: str | Path, modalities: Sequence[str]
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Return the completed entries of each split, and one line for each entry that had to be skipped.

    Raises:
        ValueError: when a split is not a list, or a case is in two of them.
    """
    problems: list[str] = []
    both: list[str] = []
    seen: dict[str, str] = {}
    splits: dict[str, list[dict[str, Any]]] = {}
    for split in (name for name in SPLITS if name in content):
        entries = entries_of(content, file, split)
        checked = [_check(f"{file}: {split}[{i}]", entry, modalities) for i, entry in enumerate(entries)]
        splits[split] = []
        for i, case in enumerate(checked):
            if isinstance(case, str):
                problems.append(case)
            elif seen.get(stem(case["case"]), split) != split:
                both.append(case["case"])
            elif stem(case["case"]) in seen:
                problems.append(f"{file}: {split}[{i}]: id {case['case']!r} occurs twice: skipped, rename or remove it")
            else:
                seen[stem(case["case"])] = split
                splits[split].append(case)
    if both:
        raise ValueError(f"datalist: {file} has {_list('case', both)} in training and validation: remove one of each")
    return splits, problems


def _list(kind: str, names: Collection[str]) -> str:
    """Name the first five."""
    first = ", ".join(repr(name) for name in sorted(names)[:5])
    return f"{kind} {first}" if len(names) == 1 else f"{len(names)} {kind}s ({first}{', …' * (len(names) > 5)})"


def _check(where: str, entry: Any, modalities: Sequence[str]) -> dict[str, Any] | str:
    """Return the completed entry, or what is wrong with it."""
    try:
        check_keys(where, entry, ("image", "modality"))
    except ValueError as error:
        return f"{error}: skipped"
    image, modality = str(entry["image"]), entry["modality"]
    if modality not in modalities:
        return f"{where}: unknown modality {modality!r} of {image}: skipped, expected one of {list(modalities)}"
    case = str(entry.get("case", image if image.startswith(f"{modality}/") else f"{modality}/{image.lstrip('/')}"))
    return {**entry, "image": image, "case": case, "group": str(entry.get("group", stem(case)))}
