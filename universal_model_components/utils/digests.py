# SPDX-License-Identifier: Apache-2.0
"""Short names of plain content: equal content has an equal name, on any machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(content: Any, digits: int = 16) -> str:
    """Return hexadecimal digits of the SHA-256 of JSON values; the order of a mapping's keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:digits]
