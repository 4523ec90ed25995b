# SPDX-License-Identifier: Apache-2.0
"""The cubes of one case as one HDF5 file (`imaging.hdf5`).

It holds `cubes` (N, H, W, D; one chunk for each cube), `scale` (N,), `box` (N, 2, 3; mm), and as attributes the case,
its set and modality, the scan's SHA-256, the recipe with its version, the volume's `affine` in scanner space,
shapes, spacings, and histograms of the intensities.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..imaging.hdf5 import LEVELS, encode
from .cropping import Cubes
from .recipe import SCALES


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
    except (OSError, KeyError, TypeError, ValueError, RuntimeError):  # what h5py raises for a damaged file
        return None
