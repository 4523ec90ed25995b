# SPDX-License-Identifier: Apache-2.0
"""The report of a store of cubes: Table I of the prepared scans, intensities before and after, skipped scans.

Everything comes from `store.json` and from the attributes of the cases' files: no scan and no cube is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cubes.case_file import read_attributes
from ..cubes.histograms import spread
from ..cubes.recipe import SCALES, recipe_id
from ..cubes.store import read_index
from ..figures import page as html
from ..figures.histograms import draw_histograms
from ..imaging.hdf5 import case_file
from ..utils.files import write_text
from .table_one import TABLE_ONE

REPORT = "report.html"
AXIS_BINS = 200
AXIS_TAIL = 0.002  # share of a modality's voxels that may lie beyond either end of the axis that is drawn
HISTOGRAMS = {
    "histogram",
    "histogram_range",
    "histogram_normalized",
}  # of a case; stores of older versions lack some
_LEAD = (
    "What the cubes of this store were made of, and how. Each set has a line for this store, and below it, for a "
    "set of the paper, that of Table I of <em>Universal Model for 3D Medical Image Analysis</em>."
)


def write_store_report(cube_store: str | Path) -> Path:
    """Write `report.html` into a finished store.

    Returns:
        The file.

    Raises:
        FileNotFoundError: when there is no store.
        ValueError: when preparation has not ended, or store.json is unreadable.
        OSError: when the page cannot be written.
    """
    index = read_index(cube_store)
    if "splits" not in index:
        raise ValueError(f"cube_store: preparation of {cube_store} has not ended: run prepare.json again, it resumes")
    cases = []
    for split, listed in index["splits"].items():
        for case in listed:
            stored = read_attributes(case_file(cube_store, case["case"])) or {}
            cases.append({"set": "n/a", **stored, **case, "split": split})
    problems = index.get("problems", [])
    sections = [
        ("table", "Table I, here and in the paper", _facts(cases, problems) + _table_one(cases)),
        ("intensities", "Intensities before and after normalization", _intensities(cases)),
        ("cubes", "Cubes by split and scale", _cubes(cases)),
        ("problems", "What was left out", _problems(problems)),
        ("recipe", "The recipe", _recipe(index["recipe"], index.get("sets", {}), cases)),
    ]
    footer = html.paragraph("Made by universal-model-components. For research; not for clinical use.")
    content = html.page("Cubes for pre-training", html.paragraph(_LEAD), sections, footer)
    target = Path(cube_store) / REPORT
    write_text(target, content)
    return target


def _facts(cases: Sequence[Mapping[str, Any]], problems: Sequence[str]) -> str:
    cubes = sum(sum(case["counts"]) for case in cases)
    background = sum(int(case.get("mostly_background", 0)) for case in cases)
    pairs = [("scans", f"{len(cases):,}"), ("cubes", f"{cubes:,}"), ("left out", len(problems))]
    return html.facts([*pairs, ("mostly background cubes", f"{background:,}")])


def _by_set(cases: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    return {name: [case for case in cases if case["set"] == name] for name in sorted({case["set"] for case in cases})}


def _sides(values: Sequence[Any], digits: int = 0) -> str:
    """Three sides as the paper writes them, slices first."""
    return " × ".join(f"{side:.{digits}f}" for side in values)


def _median(cases: Sequence[Mapping[str, Any]], key: str) -> list[float] | None:
    """Median along each axis over the cases, slices first; None when no case has it."""
    found = [case[key] for case in cases if key in case]
    return np.median(found, axis=0)[::-1].tolist() if found else None


def _table_one(cases: Sequence[Mapping[str, Any]]) -> str:
    body: list[list[str]] = []
    for name, modality in sorted({(case["set"], case["modality"]) for case in cases}):
        members = [case for case in cases if (case["set"], case["modality"]) == (name, modality)]
        shape, spacing = _median(members, "cropped_shape"), _median(members, "source_spacing")
        counts = np.sum([case["counts"] for case in members], axis=0)[::-1]
        measured = [
            "n/a" if shape is None else _sides(shape),
            "n/a" if spacing is None else _sides(spacing, 2),
            *(f"{count:,}" for count in counts),
        ]
        body.append([f"{html.text(name)}, here", f"{len(members):,}", html.text(modality), *measured])
        if (paper := TABLE_ONE.get(name)) is not None:
            cubes = (f"{count:,}" for count in paper.cubes)
            given = [f"{paper.cases:,}", paper.modality, _sides(paper.shape), _sides(paper.spacing, 2), *cubes]
            body.append([f"{html.text(name)}, paper", *given])
    head = ["set", "cases", "modality", "median shape", "median spacing (mm)", "small", "medium", "large"]
    words = (
        "Shape and spacing are of the scan before resampling, slices first as in the paper, MRI after the crop to the "
        "body (if it is on). Cases are those of training and validation together: the paper does not say what it held "
        "out to validate on. A set without a second line is not in the paper's table."
    )
    grid = html.table("Scans and sub-volumes by set", head, body, (1, 3, 4, 5, 6, 7))
    return grid + html.paragraph(words, soft=True)


def _intensities(cases: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for modality in sorted({case["modality"] for case in cases}):
        members = [case for case in cases if case["modality"] == modality and case.keys() >= HISTOGRAMS]
        if not members:
            parts.append(html.paragraph(f"{html.text(modality)}: these cases hold no histograms.", soft=True))
            continue
        sets, edges = _by_set(members), _axis(members)
        before = {n: (edges, _mean(group, "histogram", "histogram_range", edges)) for n, group in sets.items()}
        unit = np.linspace(0, 1, AXIS_BINS + 1)
        after = {n: (unit, _mean(group, "histogram_normalized", None, unit)) for n, group in sets.items()}
        name = "CT" if modality == "ct" else "MRI" if modality == "mri" else modality
        axes = ["HU" if modality == "ct" else "intensity in the file", "intensity of the cubes' volume"]
        svg = draw_histograms({f"{name}: before": before, f"{name}: after": after}, axes)
        words = f"Histograms of {name} intensities by set, before and after normalization."
        parts.append(html.chart(svg, words, f"{html.text(name)}: {len(members)} scans, each with the same weight."))
    explain = (
        "Before: the voxels of the files; what lies beyond the drawn axis is counted at its ends. After: the "
        "volumes that cubes are cut from: cropped to the body where the recipe says so, resampled, clipped and scaled "
        "to [0, 1]. The paper finds that normalization "
        "brings the sets of one modality together and leaves CT and MRI apart (IV-B.1)."
    )
    return html.paragraph(explain) + "".join(parts)


def _axis(cases: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Edges of bins that cover all but a little of the voxels of some cases."""
    low, high = (extreme(case["histogram_range"][i] for case in cases) for i, extreme in enumerate((min, max)))
    fine = np.linspace(low, high, 5000)
    below = np.cumsum(_mean(cases, "histogram", "histogram_range", fine))
    first, last = np.searchsorted(below, [AXIS_TAIL, 1 - AXIS_TAIL])
    return np.linspace(fine[max(first - 1, 0)], fine[min(last + 2, len(fine) - 1)], AXIS_BINS + 1)


def _mean(cases: Sequence[Mapping[str, Any]], key: str, ends: str | None, edges: np.ndarray) -> np.ndarray:
    """The cases' mean share of voxels in each bin; what lies beyond the ends is in the outermost bins."""
    open_edges = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    return np.mean([spread(case[key], case[ends] if ends else (0, 1), open_edges) for case in cases], axis=0)


def _cubes(cases: Sequence[Mapping[str, Any]]) -> str:
    kinds = sorted({(case["set"], case["split"], case["modality"]) for case in cases})
    body = []
    for kind in kinds:
        members = [case for case in cases if (case["set"], case["split"], case["modality"]) == kind]
        counts = np.sum([case["counts"] for case in members], axis=0)
        body.append([*map(html.text, kind), f"{len(members):,}", *(f"{count:,}" for count in counts)])
    head = ["set", "split", "modality", "scans", *SCALES]
    return html.table("Scans and cubes; a scale too small for a scan has none", head, body, range(3, 7))


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return html.verdict("Nothing: every scan that was listed gave cubes.", True)
    listing = "".join(f"<li><code>{html.text(line)}</code></li>" for line in problems)
    return html.verdict(f"{len(problems)} left out or wrong, each with its reason:", False) + f"<ul>{listing}</ul>"


def _recipe(
    recipe: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]], cases: Sequence[Mapping[str, Any]]
) -> str:
    rows = [[f"<code>{html.text(key)}</code>", html.text(json.dumps(value))] for key, value in sorted(recipe.items())]
    versions = sorted({str(case["package_version"]) for case in cases if "package_version" in case})
    rows.append(["name of this recipe", f"<code>{recipe_id(recipe)}</code>"])
    rows.append(["universal-model-components", html.text(", ".join(versions) or "n/a")])
    grid = html.table("What decided the cubes; stored with every case", ["key", "value"], rows)
    facts = [
        [html.text(name), *(html.text(found.get(key, "n/a")) for key in ("version", "seed", "root"))]
        for name, found in sorted(sets.items())
    ]
    return grid + (html.table("Where the scans come from", ["set", "version", "seed", "root"], facts) if facts else "")
