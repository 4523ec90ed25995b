# SPDX-License-Identifier: Apache-2.0
"""How normalized volumes are kept in HDF5: the file of a case, and steps of 1/4095 in 16 bits for [0, 1]."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from torch import Tensor

LEVELS = 4095  # steps between 0 and 1 in a file: half a HU for CT; finer steps hold noise and do not compress


def case_file(cube_store: str | Path, case: str) -> Path:
    """Return the file of a case: its id with safe letters only, and a hash that keeps different ids apart."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", case)[-100:]
    return Path(cube_store) / "cases" / f"{safe}-{hashlib.sha256(case.encode()).hexdigest()[:8]}.h5"


def quantize(values: Tensor) -> np.ndarray:
    """Return float32 values in [0, 1] as multiples of 1/`LEVELS`, uint16; they are overwritten on the way."""
    return values.mul_(LEVELS).round_().numpy().astype(np.uint16)


def dequantize(levels: np.ndarray) -> np.ndarray:
    """Return the values in [0, 1], float32, of multiples of 1/`LEVELS`."""
    return np.divide(levels, np.float32(LEVELS), dtype=np.float32)
