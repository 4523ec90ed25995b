# SPDX-License-Identifier: Apache-2.0
"""The cubes of one case as one HDF5 file (`imaging.hdf5`).

It holds `cubes` (N, H, W, D; one chunk for each cube), `scale` (N,), `box` (N, 2, 3; mm), and as attributes the case,
its set and modality, the scan's SHA-256 and fingerprint, the recipe with its version, the volume's `affine` in scanner
space, shapes, spacings, and histograms of the intensities.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..imaging.hdf5 import DAMAGED, LEVELS, encode
from .cropping import Cubes
from .recipe import SCALES

NO_HANDLE = (errno.EMFILE, errno.ENFILE)  # too many open files, of this process or of the machine


class ForeignCaseError(OSError):
    """A case's file that is whole, but is not what store.json says."""


def encode_case(cubes: Cubes, attributes: Mapping[str, Any]) -> bytes:
    """Return the HDF5 file of one case: its cubes and their provenance."""
    scales = np.repeat(np.arange(len(SCALES), dtype=np.uint8), cubes.counts)
    attributes = {"counts": cubes.counts, "levels": LEVELS, **attributes}
    chunk = (1, *cubes.values.shape[1:])
    return encode("cubes", cubes.values, chunk, attributes, {"scale": scales, "box": cubes.boxes})


def read_attributes(file: Path) -> dict[str, Any] | None:
    """Return the attributes of a case's file, None where the file is missing or incomplete."""
    try:
        with h5py.File(file, "r", locking=False) as stored:
            attributes = dict(stored.attrs)
            if "airy" in attributes:  # the name in stores of earlier versions
                attributes["mostly_background"] = attributes.pop("airy")
            return attributes if len(stored["cubes"]) == sum(attributes["counts"]) else None
    except DAMAGED:
        return None


def open_case(record: Mapping[str, Any]) -> h5py.File:
    """Open the file of a case, and check that it holds that case's cubes.

    Args:
        record: as of `store.case_records`.

    Raises:
        ForeignCaseError: when case, modality, recipe or number of cubes are not those of the record; one line.
        Exception: one of `hdf5.DAMAGED`, when the file is missing or damaged; see `damage_named`.
    """
    stored = h5py.File(record["file"], "r", rdcc_nbytes=0, locking=False)
    try:
        found = _difference(stored, record)
    except BaseException:
        stored.close()
        raise
    if found:
        stored.close()
        raise ForeignCaseError(f"{record['file']}: {found}: run prepare.json again")
    return stored


def _difference(stored: h5py.File, record: Mapping[str, Any]) -> str | None:
    """Return in what respect a file is not what store.json says of it."""
    attributes, counts = stored.attrs, [int(count) for count in stored.attrs["counts"]]
    if attributes["recipe_id"] != record["recipe"]:
        return "made by another recipe than the store's"
    for key in ("case", "modality"):
        if attributes[key] != record[key]:
            return f"holds cubes of {key} {attributes[key]!r}, store.json says {record[key]!r}"
    if counts != list(record["counts"]) or stored["cubes"].shape[0] != sum(counts):
        return f"holds {stored['cubes'].shape[0]} cubes, {counts} by scale, store.json says {list(record['counts'])}"
    return None


@contextmanager
def damage_named(record: Mapping[str, Any]) -> Iterator[None]:
    """Make one line that names the file of whatever h5py raises for a missing or damaged one.

    Raises:
        FileNotFoundError: when the file is missing.
        OSError: when it is damaged or foreign, or this process may not open another one.
    """
    file = record["file"]
    try:
        yield
    except ForeignCaseError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file}: cubes of {record['case']!r} are missing: run prepare.json again") from error
    except DAMAGED as error:
        if getattr(error, "errno", None) in NO_HANDLE:
            line = f"{file}: too many open files: raise the limit (ulimit -n), or lower num_workers"
            raise OSError(line) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OSError(f"{file}: unreadable or truncated ({reason}): delete it and run prepare.json again") from error
