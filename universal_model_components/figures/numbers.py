# SPDX-License-Identifier: Apache-2.0
"""Measured numbers of the report: read from JSON, where any may be missing, and written as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def read_number(numbers: Mapping[str, Any], name: str) -> float:
    """Return a number, or NaN where it is missing or null."""
    value = numbers.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def format_number(value: float, digits: int = 4) -> str:
    """Write a number with so many decimals, or a dash where it is not finite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
