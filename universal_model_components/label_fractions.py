# SPDX-License-Identifier: Apache-2.0
"""A part of the training cases: nested subsets that depend on seed and names alone (the paper's label fractions)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any


def label_fraction(entries: Sequence[Mapping[str, Any]], fraction: Any = 1.0, seed: int = 0) -> list[dict[str, Any]]:
    """Keep the entries of a share of the patients; those of a smaller share are among those of a larger one.

    Patients are ordered by the SHA-256 of seed and name. Where entries have a `label` that is a class, the share is
    taken of each class, so that none is lost; at least one patient of each is kept.

    Args:
        entries: of a datalist; keys group (the patient; case where it is missing) and label are read.
        fraction: share, above 0 and up to 1.
        seed: of the order.

    Raises:
        ValueError: when the fraction is not such a share.
    """
    try:
        share = float(fraction)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"label_fraction: got {fraction!r}, expected a share above 0 and up to 1, such as 0.3")
    strata: dict[Any, set[str]] = {}
    for entry in entries:
        label = entry.get("label")
        strata.setdefault(label if isinstance(label, int) else None, set()).add(_group(entry))
    kept: set[str] = set()
    for groups in strata.values():
        order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())
        kept.update(order[: math.ceil(round(share * len(order), 9))])
    return [dict(entry) for entry in entries if _group(entry) in kept]


def _group(entry: Mapping[str, Any]) -> str:
    return str(entry.get("group", entry.get("case", entry.get("image"))))
