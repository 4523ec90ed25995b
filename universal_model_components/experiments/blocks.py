# SPDX-License-Identifier: Apache-2.0
"""Pieces of a report that become HTML as well as Markdown: paragraphs, verdicts, tables, charts and pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..figures import page as html
from ..utils.files import write_atomically, write_text

Row = Sequence[str]


@dataclass(frozen=True)
class Words:
    """A paragraph of text."""

    text: str

    def to_html(self) -> str:
        """The paragraph as HTML."""
        return html.paragraph(html.text(self.text))

    def to_markdown(self) -> str:
        """The paragraph as Markdown."""
        return _escape(self.text)


@dataclass(frozen=True)
class Verdict:
    """A highlighted statement: good, bad, or (None) neither."""

    text: str
    good: bool | None

    def to_html(self) -> str:
        """The statement as HTML."""
        return html.verdict(html.text(self.text), self.good)

    def to_markdown(self) -> str:
        """The statement as Markdown."""
        return f"**{_escape(self.text)}**"


@dataclass(frozen=True)
class Table:
    """A table whose cells are text; all columns but the first `words` ones hold numbers."""

    caption: str
    head: Row
    rows: Sequence[Row]
    words: int = 1

    def to_html(self) -> str:
        """The table as HTML."""
        rows = [[html.text(cell) for cell in row] for row in self.rows]
        return html.table(self.caption, self.head, rows, range(self.words, len(self.head)))

    def to_markdown(self) -> str:
        """The table as Markdown, with the caption above it."""
        rule = ["---" if column < self.words else "---:" for column in range(len(self.head))]
        rows = [[_escape(cell) for cell in row] for row in (self.head, *self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
        return "\n".join([f"{_escape(self.caption)}:", "", *lines])


@dataclass(frozen=True)
class Chart:
    """A drawing, for Markdown in a file `<name>.svg` beside the text."""

    name: str
    svg: str
    caption: str

    def to_html(self) -> str:
        """The drawing as HTML."""
        return html.chart(self.svg, self.caption, html.text(self.caption))

    def to_markdown(self) -> str:
        """A reference to the drawing's file."""
        return _refer(f"{self.name}.svg", self.caption)

    def to_file(self) -> str:
        """The drawing as a file of its own: on white, whatever page it is shown on."""
        return self.svg.replace("<svg ", '<svg style="background: #ffffff; color: #1b1f24" ', 1)

    def write(self, folder: Path) -> None:
        """Write the drawing's file beside the text."""
        write_text(folder / f"{self.name}.svg", self.to_file())


@dataclass(frozen=True)
class Picture:
    """A PNG file, embedded in HTML; for Markdown its copy `<name>.png` beside the text."""

    name: str
    file: Path
    caption: str

    def to_html(self) -> str:
        """The picture as HTML."""
        return html.picture(self.file, self.caption, html.text(self.caption))

    def to_markdown(self) -> str:
        """A reference to the picture's copy."""
        return _refer(f"{self.name}.png", self.caption)

    def write(self, folder: Path) -> None:
        """Copy the picture beside the text."""
        write_atomically(folder / f"{self.name}.png", partial(shutil.copyfile, self.file))


Block = Words | Verdict | Table | Chart | Picture


@dataclass(frozen=True)
class Section:
    """A part of the report; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)

    def to_html(self) -> tuple[str, str, str]:
        """Anchor, title and content, as `figures.page.page` takes them."""
        return self.name, self.title, "\n".join(block.to_html() for block in self.blocks)

    def to_markdown(self) -> str:
        """The section with its heading."""
        return "\n\n".join([f"## {_escape(self.title)}", *(block.to_markdown() for block in self.blocks)])


def _refer(file: str, caption: str) -> str:
    """A figure in Markdown: the file beside the text, and its caption below."""
    return f"![{_escape(caption)}]({file})\n\n{_escape(caption)}"


def _escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
