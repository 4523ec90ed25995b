# SPDX-License-Identifier: Apache-2.0
"""The report about an experiment: one HTML page, Markdown with pictures beside it, and two CSV files.

Its numbers are from `experiment.json` and the records of finished runs and nothing else; what was not run is said to be
so, and nothing is filled in from the paper. Pictures of noisy masks are copied from the folders of finished runs, where
they are. The same records and pictures give the same bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..figures import page as html
from ..utils.files import write_text
from . import sections, trends
from .blocks import Chart, Picture, Section, Table
from .comparisons import Comparison, compare_all, compare_over_tasks
from .results import Results, labels_in_words, read_results
from .statistics import REPEATS

_FOOTER = "Made by universal-model-components. For research; not for clinical use."


def write_report(output_dir: str | Path, repeats: int = REPEATS) -> Path:
    """Write `report/` in an experiment's folder: index.html, report.md and its pictures, results.csv, comparisons.csv.

    Args:
        output_dir: folder of the experiment.
        repeats: bootstrap resamples.

    Returns:
        index.html.

    Raises:
        ValueError: when `experiment.json` or a record cannot be read; the message names the file.
        OSError: when a picture cannot be read, or a file cannot be written; what was there is kept.
    """
    results = read_results(Path(output_dir))
    comparisons = compare_all(results, repeats)
    pooled = compare_over_tasks(results, comparisons)
    parts = [
        sections.overview(results, pooled, comparisons),
        sections.differences(results, pooled, comparisons),
        sections.scores(results),
        sections.ranks(results, repeats),
        trends.convergence(results),
        trends.labels(results),
        trends.noise(results),
        trends.probes(results),
        trends.cost(results),
        _versions(results),
    ]
    folder = Path(output_dir) / "report"
    title = str(results.grid.get("title") or results.grid["name"])
    for block in (block for part in parts for block in part.blocks):
        if isinstance(block, Chart | Picture):
            block.write(folder)
    write_text(
        folder / "report.md", "\n\n".join([f"# {title}", *(part.to_markdown() for part in parts), _FOOTER]) + "\n"
    )
    write_text(folder / "results.csv", _table(_result_rows(results)))
    write_text(folder / "comparisons.csv", _table(_comparison_rows([*comparisons, *pooled])))
    lead, footer = html.paragraph(html.text(_lead(results))), html.paragraph(_FOOTER)
    write_text(folder / "index.html", html.page(title, lead, [part.to_html() for part in parts], footer))
    return folder / "index.html"


def _lead(results: Results) -> str:
    grid = results.grid
    seeds = len({run["seed"] for run in grid["runs"]})
    return (
        f"Experiment “{grid['name']}”: {len(grid['systems'])} systems, {len(grid['tasks'])} tasks, {seeds} seeds, "
        f"{len(grid['runs'])} runs."
    )


def _versions(results: Results) -> Section:
    """Software of the finished runs."""
    found: dict[str, set[str]] = {}
    for record in (*results.records.values(), *results.pretrainings.values()):
        for name, version in (record.get("versions") or {}).items():
            found.setdefault(name, set()).add(str(version))
    rows = [[name, ", ".join(sorted(versions))] for name, versions in sorted(found.items())]
    return Section("versions", "Versions", [Table("Software", ["name", "version"], rows, words=2)])


def _result_rows(results: Results) -> Iterable[Mapping[str, Any]]:
    """A row for each run of the grid, finished or not."""
    for run in results.grid["runs"]:
        record = results.records.get(run["run"], {})
        yield {
            "run": run["run"],
            "status": "finished" if record else "not run",
            **{key: run.get(key) for key in ("task", "system", "seed")},
            "labels": record.get("labels", run.get("labels")),
            "label_fraction": record.get("label_fraction", run.get("label_fraction")),
            "labels_in_words": labels_in_words(run, results.grid),
            "label_noise": run.get("label_noise"),
            "pretraining": run.get("pretraining"),
            "metric": record.get("metric"),
            **{split: _summary(record, split) for split in ("validation", "test")},
            "seconds": record.get("seconds"),
            "peak_memory_mib": record.get("peak_memory_mib"),
            "device": record.get("device"),
        }


def _summary(record: Mapping[str, Any], split: str) -> float | None:
    return record.get("summary", {}).get(split, {}).get(record.get("metric"))


def _comparison_rows(comparisons: Sequence[Comparison]) -> Iterable[Mapping[str, Any]]:
    """A row for each comparison; gains are shares, not percent."""
    for comparison in comparisons:
        fields = ("task", "labels", "noise", "system", "split", "seeds", "cases", "people", "verdict", "low", "high")
        tests = ("p_seeds", "holm_seeds", "p_cases", "holm_cases")
        values = {name: getattr(comparison, name) for name in (*fields, *tests)}
        yield {**values, "gain": comparison.difference.estimate, "tasks": comparison.tasks[0]}


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV, with floats of six digits; nothing without rows."""
    content = [{key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(content[0]) if content else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(content)
    return stream.getvalue()
