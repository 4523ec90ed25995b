# SPDX-License-Identifier: Apache-2.0
"""Splits by patient: ordered by a hash of seed and name, independent of the files' order and of the machine.

A new or a missing patient moves at most a few others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def hash_order(names: Collection[str], seed: int) -> list[str]:
    """Sort names by the SHA-256 of `seed:name`."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())


def check_fraction(fraction: Any, key: str) -> float:
    """Return a share from 0 to below 1.

    Raises:
        ValueError: when it is not one; the message names the key.
    """
    if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0 <= fraction < 1:
        raise ValueError(f"{key}: {fraction!r} is not from 0 to below 1")
    return fraction


def validation_groups(members: Mapping[str, set[str]], fraction: float, seed: int) -> set[str]:
    """Choose the validation groups: of each modality with two groups or more at least one, and never all.

    Args:
        members: the modalities (or classes) of each group.
        fraction: share of each modality's groups, from 0 (none) to below 1.
        seed: of the order.

    Raises:
        ValueError: when the fraction is not from 0 to below 1.
    """
    check_fraction(fraction, "validation_fraction")
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


def strata_of(cases: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the classes (key `stratum`) of each group among cases."""
    strata: dict[str, set[str]] = {}
    for case in cases:
        strata.setdefault(case["group"], set()).add(case["stratum"])
    return strata


def draw_test(members: Mapping[str, set[str]], wanted: Mapping[str, tuple[int, int]], seed: int) -> set[str]:
    """Choose the test groups: of each class as many as the paper, when the total number is the paper's.

    Args:
        members: the classes of each group; a group counts for the first of them by name.
        wanted: by class, the paper's number of test groups and of all groups; where another number of groups is there,
            the test takes the same share, rounded, at least one, and never all.
        seed: of the order.
    """
    chosen: set[str] = set()
    for name, (test, total) in wanted.items():
        groups = [group for group, names in members.items() if min(names) == name]
        share = test if len(groups) == total else max(1, round(len(groups) * test / total))
        chosen.update(hash_order(groups, seed)[: max(0, min(share, len(groups) - 1))] if test else [])
    return chosen


def assign(
    cases: Sequence[Mapping[str, Any]],
    test: Collection[str],
    fraction: float,
    seed: int,
    validation: Collection[str] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Split cases by group: the test groups are given, the validation groups are drawn from the others, class by class.

    Args:
        cases: keys group and stratum.
        test: groups.
        fraction: share of each class's other groups used for validation.
        seed: of the order.
        validation: validation groups to use instead.
    """
    rest = {group: names for group, names in strata_of(cases).items() if group not in test}
    validation = validation_groups(rest, fraction, seed) if validation is None else validation
    splits: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    for case in cases:
        group = case["group"]
        split = "test" if group in test else "validation" if group in validation else "training"
        splits[split].append(dict(case))
    return splits


def without_copies(cases: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Leave out training scans that are also in validation or test, and validation scans that are also in test.

    Args:
        cases: keys image, split and fingerprint.

    Returns:
        The others, and one line for each scan left out.
    """
    held: dict[tuple[str, str], Mapping[str, Any]] = {}
    marks = [(case["fingerprint"]["voxels"], case["fingerprint"]["places"]) for case in cases]
    for split in ("test", "validation", "training"):
        for mark, case in zip(marks, cases, strict=True):
            if case["split"] == split:
                held.setdefault(mark, case)
    kept, problems = [], []
    for mark, case in zip(marks, cases, strict=True):
        other = held[mark]
        if other["split"] == case["split"]:
            kept.append(dict(case))
        else:
            problems.append(
                f"{case['image']}: {case['split']} case with the voxels of {other['image']} in {other['split']}: "
                "left out, remove one, or give both the same patient"
            )
    return kept, problems
