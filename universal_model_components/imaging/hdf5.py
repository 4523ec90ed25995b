# SPDX-License-Identifier: Apache-2.0
"""Normalized intensities on disk: steps of 1/4095 in 16 bits, in one HDF5 file per case, chunked, shuffled, gzip.

HDF5 checks every chunk (Fletcher-32) and the file's structure, so that damage is an error and never a wrong voxel.
The bytes of a file depend on its content alone: gzip starts each chunk anew, whereas LZF's table still holds what the
process compressed before; and each array is flushed before the next, whereas HDF5 would place its chunks when Python
frees it, which a profiler such as that of a Dask worker delays. Files of earlier versions, LZF without checksums, are
read too.

A file is created in memory, so that a full disk fails in a plain write and not inside the HDF5 library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from ..utils.files import safe_name

DAMAGED = (OSError, KeyError, TypeError, ValueError, RuntimeError)  # what h5py raises for a damaged file
FORMAT = ("v110", "v110")  # of HDF5 1.10, the first whose every part has a checksum
LEVELS = 4095  # steps between 0 and 1: half a HU for CT; finer steps store noise and do not compress


def case_file(folder: str | Path, case: str) -> Path:
    """Return the file of a case: its id with safe letters only, and a hash that distinguishes different ids."""
    return Path(folder) / "cases" / f"{safe_name(case)[-100:]}-{hashlib.sha256(case.encode()).hexdigest()[:8]}.h5"


def quantize(values: Tensor) -> np.ndarray:
    """Return float32 values in [0, 1] as multiples of 1/`LEVELS`, uint16; the input is overwritten."""
    return values.mul_(LEVELS).round_().numpy().astype(np.uint16)


def dequantize(levels: np.ndarray) -> np.ndarray:
    """Return the values in [0, 1], float32, of multiples of 1/`LEVELS`."""
    return np.divide(levels, np.float32(LEVELS), dtype=np.float32)


def encode(
    name: str,
    levels: np.ndarray,
    chunks: Sequence[int],
    attributes: Mapping[str, Any],
    tables: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """Return an HDF5 file.

    Args:
        name: of the array of intensities.
        levels: what it holds, see `quantize`.
        chunks: shape of a chunk, in voxels along each axis.
        attributes: of the file.
        tables: further small arrays, by name.
    """
    with h5py.File("case.h5", "w", driver="core", backing_store=False, libver=FORMAT) as memory:
        memory.create_dataset(
            *(name, levels.shape, levels.dtype, levels),
            chunks=tuple(chunks),
            shuffle=True,
            compression="gzip",
            compression_opts=1,
            fletcher32=True,
        ).flush()
        for key, table in (tables or {}).items():
            memory.create_dataset(key, data=table, chunks=table.shape, fletcher32=True).flush()
        memory.attrs.update(attributes)
        memory.flush()
        return memory.id.get_file_image()
