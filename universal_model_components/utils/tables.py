# SPDX-License-Identifier: Apache-2.0
"""CSV files whose columns may have alternative names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def read_table(
    file: Path, columns: Mapping[str, Sequence[str]], key: str, optional: Sequence[str] = ()
) -> Iterator[dict]:
    """Yield the rows of a CSV with the requested columns under our names; values are stripped.

    Args:
        file: with a header line.
        columns: by our name, the names that it may have in the file; case, `_`, `-` and spaces are ignored.
        key: command-line option that gave the file, for messages.
        optional: our names of columns that may be missing.

    Raises:
        ValueError: when the file cannot be read or a column is missing.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            there = {_plain(name): name for name in reader.fieldnames or [] if name}
            chosen: dict[str, str] = {}
            for ours, names in columns.items():
                name = next((there[_plain(name)] for name in names if _plain(name) in there), None)
                if name is None and ours not in optional:
                    found = ", ".join(reader.fieldnames or []) or "nothing"
                    raise ValueError(f"{key}: {file} has no column {' or '.join(names)} (found {found}): add it")
                chosen |= {ours: name} if name is not None else {}
            for row in reader:
                yield {ours: (row[name] or "").strip() for ours, name in chosen.items()}
    except (OSError, UnicodeError, csv.Error) as error:
        raise ValueError(f"{key}: cannot read {file} ({error}): give a CSV with a header line") from error


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "_- ")


def find_table(root: Path, name: Any, key: str) -> Path:
    """Return the path of a table: as given, or below the root, at most two folders deep.

    Raises:
        ValueError: when it is not found.
    """
    given = Path(str(name)).expanduser()
    places = [given, root / given, *sorted(root.glob(f"*/{given.name}")), *sorted(root.glob(f"*/*/{given.name}"))]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(f"{key}: no {name} in {root}: download it from the data set's page, or give its path")
