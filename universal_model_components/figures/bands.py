# SPDX-License-Identifier: Apache-2.0
"""Lines with bands, and estimates with intervals, in one panel for each task: the charts of an experiment."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, GREEN, ORANGE, PINK, RED, SKY, faint_line, finish_axes, new_figure, svg_style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = (BLUE, RED, GREEN, ORANGE, PINK, SKY)
_DASHES = ("-", "--", "-.", ":")
_WIDTH = 9.2  # inches
_LABEL = 30  # characters of a line of an estimate's name


@dataclass(frozen=True)
class Line:
    """A mean with its spread above and below; `place` chooses color and dashes.

    Shape:
        x (N,); mean (N,); spread (N,).
    """

    name: str
    place: int
    x: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class Panel:
    """Lines in one pair of axes; `level` is a dashed horizontal line named `level_name`."""

    title: str
    xlabel: str
    ylabel: str
    lines: Sequence[Line]
    level: float | None = None
    level_name: str = ""


def draw_bands(panels: Sequence[Panel], name: str, at_points: bool = False) -> str:
    """Draw lines with bands as SVG, two panels to a row, with one legend.

    Args:
        panels: one for each task.
        name: of the figure, see `svg_style`.
        at_points: mark the points, and use a logarithmic horizontal axis with ticks only at these.
    """
    rows = -(-len(panels) // 2)
    with svg_style(name):
        figure = new_figure(_WIDTH, 2.9 * rows + 0.7)
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            for line in panel.lines:
                _draw_line(axis, line, at_points)
            if panel.level is not None:
                axis.axhline(panel.level, label=panel.level_name, **faint_line())
            if at_points:
                _tick_points(axis, np.unique(np.concatenate([line.x for line in panel.lines])))
            axis.set_xlabel(panel.xlabel)
            finish_axes(axis, panel.title, panel.ylabel, bottom=None, legend=False)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        _shared_legend(figure, list(axes))
        return to_svg(figure)


def _draw_line(axis: Axes, line: Line, at_points: bool) -> None:
    color, dashes = _COLORS[line.place % len(_COLORS)], _DASHES[line.place % len(_DASHES)]
    marker = "o" if at_points or len(line.x) == 1 else ""
    axis.plot(line.x, line.mean, color=color, linestyle=dashes, marker=marker, markersize=4, label=line.name)
    axis.fill_between(line.x, line.mean - line.spread, line.mean + line.spread, color=color, alpha=0.15, linewidth=0)


def _tick_points(axis: Axes, points: np.ndarray) -> None:
    if points.min() > 0 and points.max() > 4 * points.min():
        axis.set_xscale("log")
    axis.set_xticks(points, [f"{point:g}" for point in points])
    axis.minorticks_off()


def _shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend under the panels, with each name once."""
    named: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(
            list(named.values()), list(named.keys()), loc="outside lower center", ncols=4, frameon=False, fontsize=9
        )


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `certain` is false where the interval is from too little to be believed."""

    name: str
    value: float
    low: float
    high: float
    certain: bool = True


def draw_intervals(
    panels: Sequence[tuple[str, Sequence[Estimate]]],
    name: str,
    xlabel: str,
    zero: bool = True,
) -> str:
    """Draw estimates with intervals as SVG, one under the other, two panels to a row on one scale.

    Long names are broken into lines; those of two panels that have the same stand on the left alone.

    Args:
        panels: title and estimates each.
        name: of the figure, see `svg_style`.
        xlabel: what is estimated.
        zero: draw a line at 0; an interval to the right of it is green, to the left of it red; one across it,
            or that is not certain, is blue.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    labels = [[textwrap.fill(estimate.name, _LABEL) for estimate in estimates] for _, estimates in panels]
    height = 0.27 * max(sum(1 + label.count("\n") for label in names) for names in labels) + 0.75
    with svg_style(name):
        figure = new_figure(_WIDTH, height * rows + 0.2)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for number, (axis, (title, estimates)) in enumerate(zip(axes, panels, strict=False)):
            for place, estimate in enumerate(estimates):
                _draw_estimate(axis, place, estimate, zero)
            if zero:
                axis.axvline(0, **faint_line())
            repeated = number % columns > 0 and labels[number] == labels[number - 1]
            axis.set_yticks(range(len(estimates)), [""] * len(estimates) if repeated else labels[number])
            axis.locator_params(axis="x", nbins=5)
            axis.set_ylim(len(estimates) - 0.5, -0.5)
            axis.set_xlabel(xlabel)
            axis.tick_params(labelbottom=True)
            finish_axes(axis, title, "", bottom=None)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        return to_svg(figure)


def _draw_estimate(axis: Axes, place: int, estimate: Estimate, zero: bool) -> None:
    color = GREEN if estimate.low > 0 else RED if estimate.high < 0 else BLUE
    color = color if zero and estimate.certain else BLUE
    axis.plot([estimate.low, estimate.high], [place, place], color=color, solid_capstyle="butt")
    axis.plot(estimate.value, place, "o", color=color, markersize=5)
