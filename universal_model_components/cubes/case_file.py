# SPDX-License-Identifier: Apache-2.0
"""The cubes of one case as one HDF5 file.

It holds `cubes` (N, H, W, D; steps of 1/4095 in 16 bits, one chunk for each cube, shuffle and LZF), `scale` (N,), `box`
(N, 2, 3; mm), and as attributes the case, its set and modality, the scan's SHA-256, the recipe with its version, where
the volume lies in the scanner (`affine`), shapes, spacings, and histograms of the intensities. It is made in memory,
written beside its name, then renamed: it is there whole or not at all, and a full disk is met by a plain write, not
inside the HDF5 library.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..imaging.hdf5 import LEVELS
from .cropping import Cubes
from .recipe import SCALES


def encode_case(cubes: Cubes, attributes: Mapping[str, Any]) -> bytes:
    """Return the HDF5 file of one case: its cubes and their provenance."""
    with h5py.File("case.h5", "w", driver="core", backing_store=False) as memory:
        memory.create_dataset(
            "cubes",
            data=cubes.values,
            chunks=(1, *cubes.values.shape[1:]),
            shuffle=True,
            compression="lzf",
            track_times=False,
        )
        memory["scale"] = np.repeat(np.arange(len(SCALES), dtype=np.uint8), cubes.counts)
        memory["box"] = cubes.boxes
        memory.attrs.update({"counts": cubes.counts, "levels": LEVELS, **attributes})
        memory.flush()
        return memory.id.get_file_image()


def read_attributes(file: Path) -> dict[str, Any] | None:
    """Return the attributes of a case's file, None where there is no file or not a whole one."""
    try:
        with h5py.File(file, "r", locking=False) as stored:
            attributes = dict(stored.attrs)
            return attributes if len(stored["cubes"]) == sum(attributes["counts"]) else None
    except (OSError, KeyError, TypeError, ValueError, RuntimeError):  # what h5py raises where bytes were spoilt
        return None
