# SPDX-License-Identifier: Apache-2.0
"""A finding, one line about a setup with its severity: what checks return and `doctor` prints."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, FINE = "error", "warning", "ok"
NEEDED = ("training", "validation")


@dataclass(frozen=True)
class Finding:
    """One line about a setup.

    Args:
        level: "error" where it would stop a training, "warning", or "ok".
        message: one line: the file or the key, what was found, what to do.
    """

    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.message}"
