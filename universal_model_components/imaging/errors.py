# SPDX-License-Identifier: Apache-2.0
"""Scans that cannot be used: the error, and the one line that names the file, what was found and what to do."""

from __future__ import annotations

import re

from ..utils.errors import find_cause


class ScanError(ValueError):
    """A scan that cannot be used; the message is one line: the file, what was found, what to do."""


def scan_error(error: BaseException) -> ScanError | None:
    """Return the `ScanError` that MONAI's transforms have wrapped into others, if there is one."""
    return find_cause(error, ScanError)


def one_line(error: Exception) -> str:
    """Return an error's message as one line of at most 150 characters; the first lines say most.

    What ITK writes before it, a line of its source code and an address in memory, is left out.
    """
    text = " ".join(str(error).split())
    text = re.sub(r"^.*ITK ERROR: (\w+)\(0x\w+\)", r"\1", text)
    return text[:150] or type(error).__name__


def problem_of(file: str, error: Exception) -> str:
    """Return one line that says what was wrong with a scan."""
    if isinstance(error, ScanError):
        return str(error)
    # torch raises RuntimeError when memory runs out
    hint = ": see the memory of this machine" if isinstance(error, (RuntimeError, MemoryError)) else ""
    return f"{file}: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}{hint}"
