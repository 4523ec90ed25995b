# SPDX-License-Identifier: Apache-2.0
"""The command `audit`: what a bundle would run, read before any of it runs."""

from __future__ import annotations

import itertools
from collections import Counter

from ..auditing.bundles import audit_bundle


def audit(bundle: str) -> None:
    """List every target, expression and import of a bundle's configs, and what its weights would load; run none of it.

    What is not known to be harmless is marked with `!` and its reason; the command then exits with 1.

    Args:
        bundle: folder of a bundle, or a zipped one, which is not unpacked.
    """
    entries = audit_bundle(str(bundle))
    for file, group in itertools.groupby(entries, key=lambda entry: entry.file):
        print(file, *group, sep="\n")
    kinds = Counter(entry.kind for entry in entries)
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items())) or "nothing that is run or loaded")
    marked = sum(bool(entry.problems) for entry in entries)
    if marked:
        raise ValueError(
            f"audit: {marked} of {len(entries)} entries of {bundle} are marked by ! above: read them before you run it"
        )
    print(f"{bundle}: nothing marked")
