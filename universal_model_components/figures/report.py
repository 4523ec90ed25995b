# SPDX-License-Identifier: Apache-2.0
"""The self-contained HTML report of a pre-training run: outcome of restoration, examples, data and timings.

The page is made from files that training and evaluation wrote (`losses.csv`, `evaluation.json`, `panels/*.png`).
Missing parts are named; nothing on the page is fetched from elsewhere. `sections` writes the parts, `page` defines the
style.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..utils.files import write_text
from . import page as html
from . import sections as part
from .probe_section import probes

__all__ = ["write_report"]

_LEAD = (
    "One network learned from CT and MRI together, without a single label: cubes of scans were corrupted on purpose, "
    "and the network had to restore them. What it learns on the way, how organs look and continue, is meant to be a "
    "better start for other tasks than random weights."
)


def write_report(
    output_dir: str | Path | Sequence[str | Path],
    file: str | Path,
    title: str = "Pre-training report",
    timings: Sequence[tuple[str, str, float]] = (),
    versions: Mapping[str, str] | None = None,
    scans: str | Path | None = None,
    note: str = "",
) -> Path:
    """Write the report as one HTML file without any outside resources.

    Args:
        output_dir: folder, or folders, where training and evaluation wrote; the first that has a file is used.
        file: HTML to write (atomically).
        title: of the page.
        timings: what ran: (step, command, seconds).
        versions: of the software, by name; those in `evaluation.json` when absent.
        scans: PNG that shows the scans, see `panels.draw_scans`.
        note: text under the introduction, for example where the scans come from.

    Raises:
        ValueError: when `losses.csv` or `evaluation.json` exists but cannot be read; the message names the file.
        OSError: when the page cannot be written; a previous one is kept.
    """
    folders = [Path(output_dir)] if isinstance(output_dir, str | Path) else [Path(f) for f in output_dir]
    rows, evaluation = _read_losses(folders), _read_evaluation(folders)
    restoration = evaluation.get("restoration") or {}
    lead = html.paragraph(_LEAD) + (html.paragraph(html.text(note), soft=True) if note else "")
    versions = versions or evaluation.get("versions") or {}
    sections = [
        ("outcome", "Did it learn to restore?", part.outcome(restoration, evaluation, rows, timings)),
        ("panels", "Corrupted inputs and restorations", part.panels(folders)),
        ("curves", "How training went", part.curves(rows, restoration)),
        ("probes", "Linear probes of the features", probes(evaluation.get("probes") or {}, rows)),
        ("scans", "The scans", part.scans(scans, evaluation)),
        ("steps", "What ran, and how long", part.steps(timings)),
        ("versions", "Versions", part.versions(versions)),
    ]
    if scans is None and not evaluation.get("cases"):
        sections = [section for section in sections if section[0] != "scans"]
    footer = html.paragraph("Made by universal-model-components. For research; not for clinical use.")
    content = html.page(title, lead, sections, footer)
    write_text(Path(file), content)
    return Path(file)


def _find(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _read_losses(folders: Sequence[Path]) -> list[dict[str, float]]:
    file = _find(folders, "losses.csv")
    if file is None:
        return []
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [
                {k: float(v) for k, v in row.items() if k and v not in ("", None)} for row in csv.DictReader(stream)
            ]
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{file}: {error}; expected a table of numbers with a header line") from error


def _read_evaluation(folders: Sequence[Path]) -> dict[str, Any]:
    file = _find(folders, "evaluation.json")
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error}); run the evaluation again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file}: holds a {type(found).__name__}, expected an object with 'restoration' and 'probes'")
    return found
