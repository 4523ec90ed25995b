# SPDX-License-Identifier: Apache-2.0
"""Files of a data set, read once: integrity, hash, and intensities or labels of each.

Files are read in parallel; results are appended to a cache, one line each, by path, size and modification time, so that
a second run, or one that resumes after interruption, reads only new files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..imaging.errors import ScanError, problem_of
from ..imaging.reading import header_notes, read_scan
from ..imaging.scan_files import content_hash, parts_of
from ..utils.parallel import run_parallel, usable_cores
from .fingerprints import count_intensities, fingerprint

VERSION = 3  # of the results; older lines of the cache are ignored
MOST_LABELS = 1000  # values: a mask has fewer


def inspect_file(job: Mapping[str, str]) -> dict[str, Any]:
    """Read one file completely.

    Args:
        job: keys file, and kind ("image" or "mask").

    Returns:
        The job's keys and `problem`: one line, or None and then also `notes` (one line for each thing in the header
        that is worth a warning), sha256, shape and affine (of the file's axes, RAS, mm), and of an image its
        fingerprint, of a mask its `labels`: [value, number of voxels].
    """
    file = job["file"]
    try:
        voxels, affine = read_scan(file)
        values, counts = count_intensities(voxels)
        found: dict[str, Any] = {
            "notes": header_notes(file),
            "sha256": content_hash(file),
            "shape": list(voxels.shape),
            "affine": affine.tolist(),
        }
        check = _labels if job["kind"] == "mask" else _fingerprint
        return {**job, "problem": None, **found, **check(file, voxels, values, counts)}
    except Exception as error:  # no single file may stop the others
        return {**job, "problem": problem_of(file, error)}


def _fingerprint(file: str, voxels: np.ndarray, values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    bad = int(counts[~np.isfinite(values)].sum())
    if bad:
        raise ScanError(f"{file}: {bad} voxels are NaN or infinite: repair or remove the scan")
    if len(values) == 1:
        raise ScanError(f"{file}: constant volume (every voxel is {values[0]:g}): remove the scan")
    return {"fingerprint": fingerprint(voxels, values, counts)}


def _labels(file: str, voxels: np.ndarray, values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    if len(values) > MOST_LABELS or not np.array_equal(values, np.rint(values)):
        raise ScanError(f"{file}: {len(values)} values, not only whole numbers: not a mask, correct the label")
    return {"labels": [[int(value), int(count)] for value, count in zip(values, counts, strict=True)]}


def inspect_files(
    jobs: Sequence[Mapping[str, str]], cache: str | Path | None = None, num_workers: int | None = None
) -> dict[str, dict[str, Any]]:
    """Inspect many files in parallel, with a progress bar.

    Args:
        jobs: as for `inspect_file`.
        cache: file with earlier results, one line each; created when missing. Files with a problem are read again.
        num_workers: processes; None is one per core, 0 runs in this process.

    Returns:
        What was found, by file.

    Raises:
        ChildProcessError: see `utils.parallel.run_parallel`.
        OSError: when the cache cannot be written.
    """
    known = _read_cache(cache)
    stamps = {job["file"]: _stamp(job) for job in jobs}
    found = {job["file"]: {**job, **known[stamps[job["file"]]]} for job in jobs if stamps[job["file"]] in known}
    left = [(job,) for job in jobs if job["file"] not in found]
    if not left:
        return found
    workers = min(usable_cores() if num_workers is None else num_workers, len(left))
    with open(_made(cache), "a", encoding="utf-8") as lines:
        lines.write("\n")  # ends an incomplete line left by an interrupted run
        results = run_parallel(inspect_file, left, workers)
        for result in tqdm(results, "read and hash", len(left), unit="file", mininterval=1, disable=None):
            found[result["file"]] = result
            if result["problem"] is None and cache is not None:
                kept = {key: value for key, value in result.items() if key not in ("file", "kind")}
                lines.write(json.dumps([stamps[result["file"]], kept], separators=(",", ":")) + "\n")
                lines.flush()
    return found


def _made(cache: str | Path | None) -> Path:
    if cache is None:
        return Path(os.devnull)
    Path(cache).parent.mkdir(parents=True, exist_ok=True)
    return Path(cache)


def _stamp(job: Mapping[str, str]) -> str:
    """Return what identifies a file as the one that was read before."""
    try:
        states = [(os.path.realpath(part), part.stat()) for part in parts_of(job["file"])]
    except (OSError, ScanError):
        return ""
    return json.dumps([VERSION, job["kind"], *([path, state.st_size, state.st_mtime_ns] for path, state in states)])


def _read_cache(cache: str | Path | None) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    if cache is None or not Path(cache).is_file():
        return known
    for line in Path(cache).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            stamp, found = json.loads(line)
        except ValueError:  # empty, or incomplete after an interrupted run
            continue
        known[stamp] = found
    return known
