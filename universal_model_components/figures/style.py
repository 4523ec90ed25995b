# SPDX-License-Identifier: Apache-2.0
"""The common style of all figures, and the only module that imports matplotlib, when a figure is drawn.

Each figure is its own `Figure` (no pyplot, so there is no global state and no display). Pictures of scans are PNG on
a dark background, as in a viewer; charts of the HTML pages are SVG whose text takes the color of the page around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

GROUND, INK = "#14171c", "#e8eaed"
# Okabe and Ito's palette, which can be distinguished with any kind of color vision.
BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
_PAGE_INK, _PAGE_FAINT = "#010203", "#010204"  # placeholders that become `currentColor`
_PNG_DOTS_PER_INCH = 120


def new_figure(width: float, height: float, ground: str | None = None, **padding: Any) -> Figure:
    """Return an empty figure, laid out so that nothing overlaps.

    Args:
        width: inches.
        height: inches.
        ground: color of the background; None is matplotlib's default.
        padding: of matplotlib's `ConstrainedLayoutEngine`, instead of its default.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), facecolor=ground, layout=ConstrainedLayoutEngine(**padding))


def sample_line(color: str, dashed: bool = False) -> Line2D:
    """Return a line that is drawn only in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle="--" if dashed else "-")


def whole_ticks(axis: Axes) -> None:
    """Put the ticks of the horizontal axis at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def faint_line() -> dict[str, Any]:
    """Return the style of a reference line: thin, dashed, in the color of the text."""
    return {"color": _PAGE_INK, "alpha": 0.6, "linestyle": (0, (4, 3)), "linewidth": 1.2}


def finish_axes(axis: Axes, title: str, ylabel: str, bottom: float | None = 0, legend: bool = True) -> None:
    """Give a chart its title, a vertical axis that starts at `bottom`, a faint grid and, for named lines, a legend."""
    axis.set(title=title, ylabel=ylabel)
    if bottom is not None:
        axis.set_ylim(bottom=bottom)
    axis.grid(color=_PAGE_FAINT, alpha=0.15, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if legend and axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=9)


@contextmanager
def svg_style(name: str) -> Iterator[None]:
    """Draw for SVG inside this context; `name` makes the ids in the file reproducible."""
    import matplotlib

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: dict[Any, Any] = dict.fromkeys(ink, _PAGE_INK)
    style |= {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context({**style, "axes.titlesize": 11, "lines.linewidth": 2.0}):
        yield


def to_svg(figure: Figure) -> str:
    """Return a figure as an SVG element to be put into an HTML page; call it within `svg_style`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub('<g id="[^"]*"', "<g", text[text.index("<svg") :])  # ids must be unique on the page around it
    return text.replace(_PAGE_INK, "currentColor").replace(_PAGE_FAINT, "currentColor")


def write_png(figure: Figure, file: str | Path) -> Path:
    """Write a figure as PNG, atomically.

    Raises:
        OSError: when the file cannot be written; the message names it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DOTS_PER_INCH, metadata={"Software": None})
    write_atomically(Path(file), lambda path: path.write_bytes(buffer.getvalue()))
    return Path(file)
