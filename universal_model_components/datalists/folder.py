# SPDX-License-Identifier: Apache-2.0
"""The datalist of anyone's own scans: one sub-folder for each modality, scans anywhere below it.

The split is by group (patient). Groups are ordered by a hash of seed and name, so the split depends neither on the
order of files nor on the machine, and a new scan moves at most a few others.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..scans import SUFFIXES, stem


def find_scans(folder: Path) -> Iterator[Path]:
    """Yield the scans below a folder, sorted; hidden ones are passed over, links are followed, each folder once."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:  # by a link: the same scan under two ids could be in both splits
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(parent) / name


def read_groups(file: str | Path) -> dict[str, str]:
    """Read which patient each scan is of: a CSV with a column `case` or `image` and a column `group`.

    Returns:
        Group by case id without its suffix (`ct/a.nii.gz` and `ct/a` name the same scan).

    Raises:
        ValueError: when the file cannot be read or a column is missing.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeError) as error:
        raise ValueError(f"groups: cannot read {file} ({error}): give a CSV with columns case and group") from error
    columns = list(rows[0]) if rows else []
    name = next((column for column in ("case", "image") if column in columns), None)
    if name is None or "group" not in columns:
        raise ValueError(f"groups: {file} has columns {columns}, expected case (or image) and group")
    return {stem(row[name].strip()): row["group"].strip() for row in rows if row[name] and row["group"]}


def hash_order(names: Sequence[str], seed: int) -> list[str]:
    """Sort names by the SHA-256 of `seed:name`."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())


def validation_groups(members: Mapping[str, set[str]], fraction: float, seed: int) -> set[str]:
    """Choose the groups that validate: of each modality with two groups or more at least one, and never all.

    Args:
        members: the modalities of each group.
        fraction: share of each modality's groups, from 0 (none) to below 1.
        seed: of the order.

    Raises:
        ValueError: when the fraction is not from 0 to below 1.
    """
    if not isinstance(fraction, (int, float)) or not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction: {fraction!r} is not from 0 to below 1")
    totals = Counter(name for names in members.values() for name in names)
    wanted = {name: min(max(1, round(fraction * n)), n - 1) if fraction else 0 for name, n in totals.items()}
    taken: Counter[str] = Counter()
    chosen = set()
    for group in hash_order(list(members), seed):
        names = members[group]
        fits = all(taken[name] < wanted[name] for name in names)
        # A patient with several modalities may exceed the share of one where another would have no validation case.
        needed = any(taken[name] == 0 < wanted[name] for name in names)
        if fits or (needed and all(taken[name] + 1 < totals[name] for name in names)):
            chosen.add(group)
            taken.update(names)
    return chosen


def split_cases(cases: Sequence[Mapping[str, Any]], fraction: float, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Split cases (with keys modality and group) into training and validation by group."""
    members: dict[str, set[str]] = {}
    for case in cases:
        members.setdefault(case["group"], set()).add(case["modality"])
    chosen = validation_groups(members, fraction, seed)
    return {
        "training": [dict(case) for case in cases if case["group"] not in chosen],
        "validation": [dict(case) for case in cases if case["group"] in chosen],
    }


def folder_datalist(
    dataset_dir: str | Path,
    modalities: Sequence[str],
    seed: int = 0,
    validation_fraction: float = 0.2,
    groups: str | Path | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Make the datalist of a folder with one sub-folder for each modality.

    Args:
        dataset_dir: folder that holds `ct/`, `mri/`, …
        modalities: names of the sub-folders to take.
        seed: of the split.
        validation_fraction: share of each modality's groups that validates.
        groups: CSV of `read_groups`; a scan that it does not name is a group of its own.

    Returns:
        The datalist, and one line for each thing found wrong: an empty, missing or unknown sub-folder, two scans
        with one id, a scan outside the sub-folders, a group for a scan that is not there.

    Raises:
        ValueError: when the folder is missing, or the groups or the fraction are wrong.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise ValueError(f"dataset_dir: {root} is not a folder: give the one that holds {list(modalities)}")
    named = read_groups(groups) if groups is not None else {}
    problems: list[str] = []
    cases: list[dict[str, str]] = []
    seen: dict[str, str] = {}
    for modality in modalities:
        scans = list(find_scans(root / modality))
        if not scans:
            problems.append(f"{root / modality}: no scan in it ({', '.join(SUFFIXES)}): add some, or change modalities")
        for scan in scans:
            case = scan.relative_to(root).as_posix()
            if stem(case) in seen:
                problems.append(f"{scan}: has the same id as {root / seen[stem(case)]}: skipped, remove or rename one")
                continue
            seen[stem(case)] = case
            group = named.get(stem(case), stem(case))
            cases.append({"image": case, "modality": modality, "case": case, "group": group})
    problems += [f"groups: no scan {name!r} in {root}: correct {groups}" for name in named if name not in seen]
    problems += _strays(root, modalities)
    splits = split_cases(cases, validation_fraction, seed)
    return {"name": "folder", "version": 1, "seed": seed, **splits}, problems


def _strays(root: Path, modalities: Sequence[str]) -> list[str]:
    problems = []
    for entry in sorted(root.iterdir()):
        if entry.is_file() and entry.name.lower().endswith(SUFFIXES):
            problems.append(f"{entry}: not in the folder of a modality: skipped, move it to one of {list(modalities)}")
        elif entry.is_dir() and entry.name not in modalities and next(find_scans(entry), None):
            problems.append(f"{entry}: unknown modality {entry.name!r}: skipped, add it to modalities or move it away")
    return problems
