# SPDX-License-Identifier: Apache-2.0
"""What was found while making a datalist: counts, differences from what was expected, unusable files, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Findings:
    """Collected while a data set is read, printed at the end, and stored in the datalist.

    Args:
        counts: rows of what, found, expected (usually by the paper).
        differences: one line for each thing that is not as expected.
        problems: one line for each file or entry that was skipped.
        notes: one line for each thing worth knowing.
    """

    counts: list[dict[str, Any]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, what: str, found: int, expected: int | None) -> None:
        """Add a count; one that is not as expected is a difference (None: nothing is expected)."""
        self.counts.append({"what": what, "found": found, "expected": expected})
        if expected is not None and found != expected:
            self.differences.append(f"{what}: {found}, {expected} expected")

    def note_files(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Add the notes of files as `inspection.inspect_file` found them; the same one of many files is one line."""
        alike: dict[str, list[str]] = {}
        for file in found:
            for note in file.get("notes", ()):
                alike.setdefault(note.removeprefix(file["file"]), []).append(note)
        self.notes += [lines[0] + f" (and {len(lines) - 1} more files)" * (len(lines) > 1) for lines in alike.values()]

    def to_dict(self) -> dict[str, list]:
        """Return what a datalist stores."""
        return {
            "counts": self.counts,
            "differences": self.differences,
            "problems": self.problems,
            "notes": self.notes,
        }

    def print(self) -> None:
        """Print all of it, the table first."""
        if self.counts:
            width = max(len(row["what"]) for row in self.counts)
            print(f"{'':<{width}}{'found':>10}{'expected':>10}")
            for row in self.counts:
                wanted = "-" if row["expected"] is None else row["expected"]
                print(f"{row['what']:<{width}}{row['found']:>10}{wanted:>10}")
        for kind, lines in (("note", self.notes), ("skipped", self.problems), ("differs", self.differences)):
            for line in lines:
                print(f"{kind}: {line}")
