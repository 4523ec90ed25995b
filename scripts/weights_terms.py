# SPDX-License-Identifier: Apache-2.0
"""The section of a bundle's docs/data_license.txt on the weights in models/: license, scans and their sources."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HEADING = "Weights"
WIDTH = 119  # columns of a line


def with_section(text: str, lines: Sequence[str]) -> str:
    """Return data_license.txt with the section at its end replaced, or appended where there is none."""
    head = text.partition(f"\n{HEADING}\n")[0].rstrip("\n")
    return "\n".join([head, "", HEADING, "-" * 71, *lines, ""])


def of_pretraining(license_name: str, sources: Sequence[Mapping[str, Any]], cubes: int) -> list[str]:
    """Describe the weights of a pre-training, by the sources of its scans and how many cubes were trained on."""
    count = sum(len(source["scans"]) for source in sources)
    return [
        f"The weights in models/ are under {license_name}, the license of the scans under share-alike terms among the",
        f"{count} that they were trained on ({cubes:,} cubes) or chosen by. No label was used. Sources:",
        *_listed(sources),
    ]


def of_demonstration(provenance: Mapping[str, Any]) -> list[str]:
    """Describe the weights of a demonstration, by its provenance: its scans, and the sources of those before it."""
    what = f"The weights in models/ are a demonstration: {provenance['demonstration']}. They are under"
    lines = textwrap.wrap(f"{what} {provenance['license']}. Trained and chosen on these scans:", WIDTH)
    lines += _listed(provenance["scans"])
    if ancestor := provenance.get("continued_from"):
        lines += ["", f"Training started from weights under {ancestor['license']} (SHA-256 of their tensors"]
        lines += [f"{ancestor['sha256']}), which were trained on scans of:"]
        lines += _listed(ancestor.get("scans", []), name_scans=False)
    return lines


def _listed(sources: Sequence[Mapping[str, Any]], name_scans: bool = True) -> Iterator[str]:
    for source in sources:
        yield from ("", f"- {source['source']}: {source['license']}, {source['attribution']}")
        if "url" in source:
            yield f"  {source['url']}"
        if name_scans:
            yield from (f"  {scan}" for scan in source["scans"])
