# SPDX-License-Identifier: Apache-2.0
"""."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path


def case_file(cube_store: str | Path, case: str) -> Path:
    """Return the file of a case: its id with safe letters only, and a hash that keeps different ids apart."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", case)[-100:]
    return Path(cube_store) / "cases" / f"{safe}-{hashlib.sha256(case.encode()).hexdigest()[:8]}.h5"


LEVELS = 4095  # steps between 0 and 1 in the store: half a HU for CT; finer steps hold noise and do not compress
