# SPDX-License-Identifier: Apache-2.0
"""`store.json`: the recipe of a store and, once preparation has ended, the cases of each split; read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .recipe import SCALES

INDEX = "store.json"


def read_index(cube_store: str | Path) -> dict[str, Any]:
    """Read `store.json`.

    Raises:
        FileNotFoundError: when there is no store.
        ValueError: when the file is not what prepare.json writes; one line.
    """
    file = Path(cube_store) / INDEX
    if not file.is_file():
        raise FileNotFoundError(f"cube_store: no {INDEX} in {cube_store}: run prepare.json first, or correct the path")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not valid JSON ({error}): delete it and run prepare.json again") from error
    problem = _problem(content)
    if problem:
        raise ValueError(f"{file}: {problem}: delete it and run prepare.json again")
    return content


def _problem(content: Any) -> str | None:
    """Return what is wrong with the content of a store.json."""
    recipe = content.get("recipe") if isinstance(content, Mapping) else None
    if not isinstance(recipe, Mapping) or "patch_size" not in recipe:
        return f"holds {str(content)[:40]!r}, expected a mapping with 'recipe'"
    splits = content.get("splits", {})
    if not isinstance(splits, Mapping) or not all(isinstance(cases, list) for cases in splits.values()):
        return "'splits' is not a mapping of lists of cases"
    seen: dict[str, str] = {}
    for split, cases in splits.items():
        for place, case in enumerate(cases):
            if not _is_case(case):
                return f"{split}[{place}] is not a case with modality and {len(SCALES)} counts of cubes, 0 or more"
            if case["case"] in seen:
                return f"case {case['case']!r} is listed twice, in {seen[case['case']]} and in {split}"
            seen[case["case"]] = split
    return None


def _is_case(case: Any) -> bool:
    if not isinstance(case, Mapping) or not all(isinstance(case.get(key), str) for key in ("case", "modality")):
        return False
    counts = case.get("counts")
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return False
    return len(counts) == len(SCALES) and sum(counts) > 0
