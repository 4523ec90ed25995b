# SPDX-License-Identifier: Apache-2.0
"""An entry: one thing in a bundle that is run, imported or loaded, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

TARGET, EXPRESSION, IMPORT = "target", "expression", "import"
FILE, PATH, SETTING, PICKLED = "file", "path", "setting", "pickled"


@dataclass(frozen=True)
class Entry:
    """One thing that a bundle runs, imports or loads.

    Args:
        file: of the bundle, by its path in it.
        place: where in the file, such as "network_def::_target_"; "" for the whole file.
        kind: one of the constants of this module.
        text: as it is written.
        problems: why it is marked; none for what is known to be harmless.
    """

    file: str
    place: str
    kind: str
    text: str
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        why = f"  <- {'; '.join(self.problems)}" if self.problems else ""
        return f"{'!' if self.problems else ' '} {self.kind:<10} {self.place or '-'}: {text}{why}"
