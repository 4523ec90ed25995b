# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics against the epoch, for the report and as a handler, from the CSV that `LossRecorder` writes."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events

from .style import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SKY,
    finish_axes,
    new_figure,
    svg_style,
    to_svg,
    whole_ticks,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def read_rows(file: str | Path) -> list[dict[str, float]]:
    """Read the rows of a `losses.csv`; empty cells are NaN."""
    with open(file, newline="", encoding="utf-8") as stream:
        return [{name: float(cell or math.nan) for name, cell in row.items()} for row in csv.DictReader(stream)]


def draw_losses(rows: Sequence[Mapping[str, float]], references: Mapping[str, float] | None = None) -> str:
    """Loss curves as SVG: restoration (training and validation, beside reference errors), then the two classifiers.

    Args:
        rows: one per epoch, with the columns of `losses.csv`; a missing or non-finite value is left out.
        references: name and mean squared error of horizontal lines to compare with.
    """
    right = [(name, color) for name, color in (("loss_modality", PINK), ("loss_scale", SKY)) if _has(rows, name)]
    with svg_style("losses"):
        figure = new_figure(9.2 if right else 5.4, 3.3)
        axes = figure.subplots(1, 2 if right else 1, squeeze=False)[0]
        _curve(axes[0], rows, "loss_restoration", BLUE, "-", "training")
        _curve(axes[0], rows, "val_restoration", RED, "-", "validation")
        for (name, value), color in zip((references or {}).items(), (ORANGE, GREEN), strict=False):
            axes[0].axhline(value, color=color, linestyle="--", linewidth=1.4, label=name)
        finish_axes(axes[0], "Restoration", "mean squared error")
        if right:
            for name, color in right:
                _curve(axes[1], rows, name, color, "-" if name == "loss_modality" else "-.", name.removeprefix("loss_"))
            finish_axes(axes[1], "Classifiers", "cross-entropy")
        return to_svg(figure)


def draw_metrics(rows: Sequence[Mapping[str, float]], metrics: Sequence[str], file: str | Path) -> Path:
    """Draw the training loss and validation metrics against the epoch (the paper's Fig. 4), as PNG.

    Args:
        rows: one per epoch, with the columns of `losses.csv`; a missing or non-finite value is left out.
        metrics: columns for the right-hand side, between 0 and 1; those without a value are left out.
        file: to write (atomically).
    """
    shown = [name for name in metrics if _has(rows, name)]
    figure = new_figure(9.2, 3.3, "white")
    left, right = figure.subplots(1, 2)
    _curve(left, rows, "loss", BLUE, "-", "training")
    _curve(left, rows, "val_loss", RED, "-", "validation")
    finish_axes(left, "Loss", "loss")
    for name, color, line in zip(shown, (GREEN, RED, PINK, SKY), ("-", "-.", "--", ":"), strict=False):
        best = max((row[name], row.get("epoch", i + 1)) for i, row in enumerate(rows) if _has([row], name))
        _curve(right, rows, name, color, line, f"{name}, best {best[0]:.3f} in epoch {best[1]:g}")
    finish_axes(right, "Validation", "")
    right.set_ylim(0, 1)
    return write_png(figure, file)


def _has(rows: Sequence[Mapping[str, float]], name: str) -> bool:
    return any(np.isfinite(row.get(name, np.nan)) for row in rows)


def _curve(axis: Axes, rows: Sequence[Mapping[str, float]], name: str, color: str, line: str, label: str) -> None:
    points = [(row.get("epoch", i + 1), row.get(name, np.nan)) for i, row in enumerate(rows)]
    points = [point for point in points if np.isfinite(point[1])]
    axis.set_xlabel("epoch")
    whole_ticks(axis)
    if points:
        marker = "o" if len(points) < 30 else ""
        axis.plot(*zip(*points, strict=True), color=color, linestyle=line, marker=marker, markersize=3.5, label=label)


class MetricCurves:
    """Ignite handler that draws loss and validation metrics against the epoch; attach it after the `LossRecorder`.

    Args:
        output_dir: where losses.csv is, and curves.png goes.
        metrics: columns to draw, such as ["val_iou", "val_dice"].
    """

    def __init__(self, output_dir: str, metrics: Sequence[str]) -> None:
        self.source, self.file = Path(output_dir) / "losses.csv", Path(output_dir) / "curves.png"
        self.metrics = list(metrics)

    def attach(self, engine: Any) -> None:
        """Draw after each of the trainer's epochs, on rank 0."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Draw the content of the file."""
        if self.source.is_file():
            draw_metrics(read_rows(self.source), self.metrics, self.file)
