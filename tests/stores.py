# SPDX-License-Identifier: Apache-2.0
"""What a store of cubes holds, byte for byte."""

from __future__ import annotations

from pathlib import Path


def content(store: str | Path) -> dict[str, bytes]:
    """Return the bytes of a store's JSON files and of its cases' files, by name."""
    files = [*Path(store).glob("*.json"), *Path(store).glob("cases/*.h5")]
    return {file.name: file.read_bytes() for file in sorted(files)}
