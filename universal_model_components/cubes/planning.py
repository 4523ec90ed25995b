# SPDX-License-Identifier: Apache-2.0
"""What a preparation would produce and cost, estimated from the scans' headers and one timed case."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..imaging.errors import ScanError, problem_of
from ..imaging.geometry import spacing_of
from ..imaging.normalization import check_size
from ..imaging.reading import read_header
from ..imaging.resampling import resampled_affine
from .case_file import encode_case
from .cases import cut_case
from .cropping import scale_counts, too_small
from .recipe import SCALES, Recipe

WORKER_BYTES = 0.75e9  # the libraries of one process
# Copies of the largest volume, float32, that one case may need at once. Measured as what `prepare_case` adds to the
# peak resident memory of a process that has prepared a small scan before: 3.1 for int16 CT (512×512×200 voxels of
# 0.74×0.74×1.25 mm), 4.0 for scaled int16 (float64 in the reader).
VOLUMES_IN_MEMORY = 4


def count_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tabulate cases and cubes by set, split, modality and scale.

    Args:
        rows: keys set, split, modality and counts (by scale), one for each case.
    """
    keys = ("set", "split", "modality")
    wide = max([len(row["set"]) for row in rows] + [10]) + 2
    lines = [f"{'set':<{wide}}{'split':<12}{'modality':<10}{'cases':>8}" + "".join(f"{name:>10}" for name in SCALES)]
    for kind in sorted({tuple(row[key] for key in keys) for row in rows}):
        chosen = [row["counts"] for row in rows if tuple(row[key] for key in keys) == kind]
        counts = "".join(f"{count:>10}" for count in np.sum(chosen, axis=0))
        lines.append(f"{kind[0]:<{wide}}{kind[1]:<12}{kind[2]:<10}{len(chosen):>8}{counts}")
    return "\n".join(lines)


def _read_headers(
    cases: Sequence[Mapping[str, Any]], recipe: Recipe, problems: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the cases that would give cubes, with counts and voxels, and the problems of the others."""
    rows, wrong = [], list(problems)
    for case in tqdm(cases, desc="headers", unit="scan", disable=None):
        try:
            shape, spacing = read_header(case["file"])
            made = check_size(case["file"], shape, spacing, recipe.spacing)
            kept = spacing_of(resampled_affine(np.diag([*spacing, 1.0]), recipe.spacing).numpy())
        except ScanError as error:
            wrong.append(str(error))
            continue
        counts = scale_counts(made, kept, recipe, case["set"])
        if sum(counts):
            rows.append({**case, "counts": counts, "voxels": math.prod(made), "source": math.prod(shape)})
        else:
            wrong.append(f"{case['file']}: {too_small(made, kept, recipe)}")
    return rows, wrong


def _time_median(
    rows: list[dict[str, Any]], recipe: Recipe, wrong: list[str]
) -> tuple[dict[str, Any], float, float] | None:
    """Make the cubes of the median usable case: the case, seconds, bytes of a cube.

    A case that turns out to be unusable moves from `rows` to `wrong`, and the one next to the median is tried.
    """
    ordered = sorted(rows, key=lambda row: row["voxels"] + row["source"])
    for place in sorted(range(len(ordered)), key=lambda place: abs(place - len(ordered) // 2)):
        sample, start = ordered[place], time.perf_counter()
        try:
            cubes = cut_case(sample, recipe)[1]
        except Exception as error:
            wrong.append(problem_of(sample["file"], error))
            rows.remove(sample)
            continue
        each = len(encode_case(cubes, {})) / len(cubes.values)
        return sample, time.perf_counter() - start, each
    return None


def print_plan(
    cases: Sequence[Mapping[str, Any]], recipe: Recipe, workers: int, problems: Sequence[str]
) -> dict[str, Any]:
    """Print cubes by split, modality and scale, bytes, memory and time; nothing is written, one median case is timed.

    Args:
        cases: keys case, modality, set, split, file.
        recipe: of the store.
        workers: number of processes.
        problems: found so far; unusable scans are added to those printed, as far as their headers (and the
            voxels of the timed case) show.
    """
    rows, wrong = _read_headers(cases, recipe, problems)
    timed = _time_median(rows, recipe, wrong)
    result: dict[str, Any] = {"cases": len(rows), "cubes": sum(sum(row["counts"]) for row in rows), "problems": wrong}
    print("plan, nothing is written; a foreground crop may still drop some small cubes")
    print(count_table(rows))
    for problem in wrong:
        print(f"wrong: {problem}")
    if timed is None:
        return result
    sample, seconds, each = timed
    work = sum(row["voxels"] + row["source"] for row in rows) / (sample["voxels"] + sample["source"])
    largest = max(max(row["voxels"], row["source"]) for row in rows)
    result["seconds"] = seconds * work / max(workers, 1)
    result["bytes"] = int(each * result["cubes"])
    result["memory"] = int(max(workers, 1) * (WORKER_BYTES + VOLUMES_IN_MEMORY * 4 * largest))
    print(f"{result['cubes']} cubes of {len(rows)} cases: {result['bytes'] / 1e9:.3g} GB on disk, ", end="")
    print(
        f"up to {result['memory'] / 1e9:.1f} GB of memory, about {timedelta(seconds=round(result['seconds']))} ", end=""
    )
    print(f"with {max(workers, 1)} processes (timed on {sample['case']}: {seconds:.1f} s)")
    return result
