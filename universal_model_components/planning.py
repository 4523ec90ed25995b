# SPDX-License-Identifier: Apache-2.0
"""What a preparation would make, from the scans' headers and one timed case, before a week of computing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from .case_files import encode_case
from .cases import cut_case
from .cubes import scale_counts
from .recipes import SCALES, Recipe
from .resampling import resampled_shape
from .scans import ScanError, read_header

WORKER_BYTES = 0.75e9  # the libraries of one process
VOLUMES_IN_MEMORY = 5  # copies of the largest volume, float32, that one case may need at once


def count_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out cases and cubes by split, modality and scale.

    Args:
        rows: keys split, modality and counts (by scale), one for each case.
    """
    lines = [f"{'split':<12}{'modality':<10}{'cases':>8}" + "".join(f"{name:>10}" for name in SCALES)]
    for split, modality in sorted({(row["split"], row["modality"]) for row in rows}):
        chosen = [row["counts"] for row in rows if (row["split"], row["modality"]) == (split, modality)]
        counts = np.sum(chosen, axis=0)
        lines.append(f"{split:<12}{modality:<10}{len(chosen):>8}" + "".join(f"{count:>10}" for count in counts))
    return "\n".join(lines)


def print_plan(
    cases: Sequence[Mapping[str, Any]], recipe: Recipe, workers: int, problems: Sequence[str]
) -> dict[str, Any]:
    """Print cubes by split, modality and scale, bytes, memory and time; nothing is written, one median case is timed.

    Args:
        cases: keys case, modality, split, file.
        recipe: what would be made.
        workers: processes that would work.
        problems: found so far; unreadable headers are added to those printed.
    """
    rows, wrong = [], list(problems)
    for case in tqdm(cases, desc="headers", unit="scan", disable=None):
        try:
            shape, spacing = read_header(case["file"])
        except ScanError as error:
            wrong.append(str(error))
            continue
        made = resampled_shape(shape, spacing, recipe.spacing)
        counts = scale_counts(made, recipe.spacing, recipe)
        rows.append({**case, "counts": counts, "voxels": math.prod(made), "source": math.prod(shape)})
    rows = [row for row in rows if sum(row["counts"])]
    result: dict[str, Any] = {"cases": len(rows), "cubes": sum(sum(row["counts"]) for row in rows), "problems": wrong}
    print("plan, nothing is written; a foreground crop may still drop some small cubes")
    print(count_table(rows))
    for problem in wrong:
        print(f"wrong: {problem}")
    if not rows:
        return result
    sample = sorted(rows, key=lambda row: row["voxels"] + row["source"])[len(rows) // 2]
    start = time.perf_counter()
    _, cubes = cut_case(sample, recipe)
    each = len(encode_case(cubes, {})) / len(cubes.values)
    seconds = time.perf_counter() - start
    work = sum(row["voxels"] + row["source"] for row in rows) / (sample["voxels"] + sample["source"])
    largest = max(max(row["voxels"], row["source"]) for row in rows)
    result["seconds"] = seconds * work / max(workers, 1)
    result["bytes"] = int(each * result["cubes"])
    result["memory"] = int(max(workers, 1) * (WORKER_BYTES + VOLUMES_IN_MEMORY * 4 * largest))
    print(f"{result['cubes']} cubes of {len(rows)} cases: {result['bytes'] / 1e9:.2f} GB on disk, ", end="")
    print(
        f"up to {result['memory'] / 1e9:.1f} GB of memory, about {timedelta(seconds=round(result['seconds']))} ", end=""
    )
    print(f"with {max(workers, 1)} processes (timed on {sample['case']}: {seconds:.1f} s)")
    return result
