# SPDX-License-Identifier: Apache-2.0
"""A datalist that someone else made: read, checked and completed; its splits are not changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..imaging.scan_files import stem

SPLITS = ("training", "validation")


def read_datalist(file: str | Path, modalities: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Read a MONAI datalist for pre-training; its entries need the keys image and modality.

    Missing keys `case` and `group` are filled: the case is modality/image path, the group is the case. A `validation`
    that is null is left out. Other lists, a test set for example, are kept as they are.

    Returns:
        The datalist, and one line for each entry that had to be skipped: missing key, unknown modality, an id twice.

    Raises:
        ValueError: when the file is unreadable, has no `training` list or a `validation` that is none, or a case or
            group is in both splits.
    """
    try:
        content = json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"datalist: cannot read {file} ({error}): give a MONAI datalist in JSON, or null") from error
    if not isinstance(content, dict) or not isinstance(content.get("training"), list):
        raise ValueError(f"datalist: {file} has no list 'training': give a MONAI datalist, or null")
    content = {key: value for key, value in content.items() if key != "validation" or value is not None}
    if not isinstance(content.get("validation", []), list):
        raise ValueError(f"datalist: {file}: 'validation' is no list: give one, or null to carve it from 'training'")
    problems: list[str] = []
    both: list[str] = []
    seen: dict[str, str] = {}
    splits: dict[str, list[dict[str, Any]]] = {}
    for split in (name for name in SPLITS if name in content):
        checked = [_check(f"{file}: {split}[{i}]", entry, modalities) for i, entry in enumerate(content[split])]
        splits[split] = []
        for i, case in enumerate(checked):
            if isinstance(case, str):
                problems.append(case)
            elif seen.get(stem(case["case"]), split) != split:
                both.append(case["case"])
            elif stem(case["case"]) in seen:
                problems.append(
                    f"{file}: {split}[{i}]: id {case['case']!r} is there twice: skipped, rename or remove it"
                )
            else:
                seen[stem(case["case"])] = split
                splits[split].append(case)
    if both:
        raise ValueError(f"datalist: {file} has {_list('case', both)} in training and validation: remove one of each")
    groups = {case["group"] for case in splits["training"]} & {case["group"] for case in splits.get("validation", [])}
    if groups:
        raise ValueError(f"datalist: {file} has {_list('group', groups)} in training and validation: keep it in one")
    return {"name": "given", "version": 1, **content, **splits}, problems


def _list(kind: str, names: Collection[str]) -> str:
    """Name the first five."""
    first = ", ".join(repr(name) for name in sorted(names)[:5])
    return f"{kind} {first}" if len(names) == 1 else f"{len(names)} {kind}s ({first}{', …' * (len(names) > 5)})"


def _check(where: str, entry: Any, modalities: Sequence[str]) -> dict[str, Any] | str:
    """Return the completed entry, or what is wrong with it."""
    if not isinstance(entry, Mapping):
        return f"{where}: {entry!r} is not a mapping: skipped, write it as {{'image': …, 'modality': …}}"
    missing = [key for key in ("image", "modality") if key not in entry]
    if missing:
        return f"{where}: missing key {missing[0]!r} (found {sorted(entry)}): skipped, add it"
    image, modality = str(entry["image"]), entry["modality"]
    if modality not in modalities:
        return f"{where}: unknown modality {modality!r} of {image}: skipped, expected one of {list(modalities)}"
    case = str(entry.get("case", image if image.startswith(f"{modality}/") else f"{modality}/{image.lstrip('/')}"))
    return {**entry, "image": image, "case": case, "group": str(entry.get("group", stem(case)))}
