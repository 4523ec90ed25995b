# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of a scan's content, to recognize it in another file: they count intensities and ignore orientation.

`voxels` hashes the sorted sides and how often each intensity occurs, as float32. It is the same after any flip or
permutation of axes, in any file format, compression or data type that keeps the intensities, under any header.

`levels` is a sketch of the counts alone: hashes of runs of counts of neighboring intensities, the smallest few of
them. Runs survive any change that preserves the order of intensities: an offset (HU + 1024), a scaling to [0, 1],
another padding value, and clipping that leaves enough levels (half are enough; a tenth may not be).

Neither finds a scan that was resampled, cropped, filtered or rounded to fewer levels, and `levels` is empty for
continuous intensities, where each value occurs once or twice (as after bias-field correction); there, only patient ids
help.

Raw scans with equal sides and equal counts of every intensity do not occur, but rank transforms and histogram
equalization produce them. `places`, how many voxels above the median each slice along each axis holds, distinguishes
those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

RUN = 24  # counts of neighboring intensities in one hash
DISTINCT = 12  # distinct counts required in a run: runs of ones and twos would match by chance
SKETCH = 32  # hashes kept
SHARED = 2  # common hashes that identify two scans as the same
BLOCK = 1 << 22  # voxels
INTEGER_RANGE = 1 << 22  # intensities that are counted in a table instead of sorted


def count_intensities(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct intensities, ascending, as float32, and how often each occurs; NaN is one intensity.

    Integers of a moderate range are counted in a table, also when they are stored as floats: that needs no copy of the
    scan, and its time depends neither on the type nor on how fast a processor sorts (benchmarks/datalists.py).
    """
    flat = voxels.ravel(order="K")
    low, high = float(flat.min()), float(flat.max())
    if high - low < INTEGER_RANGE:  # not with NaN or infinity
        table = _tabulate(flat, int(low), int(high))
        if table is not None:
            present = table.nonzero()[0]
            return (present + int(low)).astype(np.float32), table[present]
    values, counts = np.unique(flat.astype(np.float32) + np.float32(0), return_counts=True)  # + 0 turns -0 into 0
    return values, counts


def _tabulate(flat: np.ndarray, low: int, high: int) -> np.ndarray | None:
    """Count each integer from low to high, a block at a time; None when there are other numbers."""
    table = np.zeros(high - low + 1, dtype=np.int64)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        whole = block.astype(np.int64)
        if block.dtype.kind == "f" and not np.array_equal(whole, block):
            return None
        table += np.bincount(whole - low, minlength=len(table))
    return table


def fingerprint(voxels: np.ndarray, values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Return the fingerprints of a scan.

    Args:
        voxels: of the scan, without NaN.
        values: distinct intensities, ascending, float32.
        counts: how often each occurs.

    Returns:
        `voxels` and `places`, strings, and `levels`, a sorted list of strings, perhaps empty.
    """
    sides = np.sort(np.asarray(voxels.shape, dtype="<u8"))
    median = values[np.searchsorted(np.cumsum(counts), voxels.size / 2)]
    counts = counts.astype("<u8")
    content = hashlib.sha256(sides.tobytes() + values.astype("<f4").tobytes() + counts.tobytes())
    return {"voxels": content.hexdigest()[:32], "places": _places(voxels, median), "levels": _sketch(sides, counts)}


def _places(voxels: np.ndarray, median: np.float32) -> str:
    """Hash the three profiles; each in the direction that makes it smaller, as a flip reverses it."""
    ordered = voxels.transpose(np.argsort(voxels.strides)[::-1])  # in memory order
    slices = [part.astype(np.float32) > median for part in ordered]
    plane = np.zeros(ordered.shape[1:], dtype="<u8")
    for part in slices:
        plane += part
    profiles = [np.array([part.sum() for part in slices], dtype="<u8"), plane.sum(axis=1), plane.sum(axis=0)]
    ends = sorted(min(profile.tobytes(), profile[::-1].tobytes()) for profile in profiles)
    return hashlib.sha256(b"".join(ends)).hexdigest()[:16]


def _sketch(sides: np.ndarray, counts: np.ndarray) -> list[str]:
    if len(counts) < RUN:
        return []
    runs = np.lib.stride_tricks.sliding_window_view(counts, RUN)
    ordered = np.sort(runs, axis=1)
    informative = runs[(ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) + 1 >= DISTINCT]
    salt = sides.astype("<u8").tobytes()
    hashes = {hashlib.blake2b(run.tobytes(), digest_size=6, key=salt).hexdigest() for run in informative}
    return sorted(hashes)[:SKETCH]


def likeness(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Return in what respect two scans are the same, None when they are not known to be."""
    if first["voxels"] == second["voxels"]:
        places = {mark["places"] for mark in (first, second) if "places" in mark}  # earlier lists have none
        return "the same voxels" if len(places) < 2 else None
    if len(set(first["levels"]) & set(second["levels"])) >= SHARED:
        return "the same voxels with other intensities"
    return None
