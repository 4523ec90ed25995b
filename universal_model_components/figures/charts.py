# SPDX-License-Identifier: Apache-2.0
"""Charts of a classifier: ROC curve, confusion matrix, and its most confident errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .planes import mosaic, plane_slices
from .style import GROUND, INK, ORANGE, SKY, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_roc(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], file: str | Path, title: str = "") -> None:
    """Draw the ROC curve, with the point of the threshold; if a class is missing, only the reason is written.

    Args:
        rows: keys label and probability.
        summary: of `classification_metrics.summarize` for these rows.
        file: PNG to write (atomically).
        title: line at the top.
    """
    from sklearn.metrics import roc_curve  # takes half a second

    figure, axis = _axes(title or "ROC curve")
    axis.plot([0, 1], [0, 1], color=INK, alpha=0.4, linestyle="--", linewidth=1, label="chance level")
    axis.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    if summary["auc"] is None:
        reason = "; ".join(summary["problems"])
        axis.text(0.5, 0.5, reason, color=INK, ha="center", va="center", wrap=True, fontsize=9)
    else:
        labels, scores = ([row[key] for row in rows] for key in ("label", "probability"))
        false_rate, true_rate, _ = roc_curve(labels, scores)
        low, high = summary["auc_interval"] or (float("nan"), float("nan"))
        name = f"AUC {summary['auc']:.3f} ({summary['interval_level']:.0%} interval {low:.3f} to {high:.3f})"
        axis.plot(false_rate, true_rate, color=SKY, linewidth=2, label=name)
        at = 1 - summary["specificity"], summary["sensitivity"]
        axis.plot(*at, "o", color=ORANGE, markersize=8, label=f"threshold {summary['threshold']:g}")
    legend = axis.legend(frameon=False, fontsize=9, loc="lower right")
    for text in legend.get_texts():
        text.set_color(INK)
    write_png(figure, file)


def draw_confusion(summary: Mapping[str, Any], names: Sequence[str], file: str | Path, title: str = "") -> None:
    """Draw the confusion matrix: counts, and shares of each true class.

    Args:
        summary: of `classification_metrics.summarize`.
        names: of the two classes.
        file: PNG to write (atomically).
        title: line at the top.
    """
    counts = np.array(summary["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axis = _axes(title or "Confusion matrix")
    axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = GROUND if shares[row, column] > 0.6 else INK
        axis.text(
            column, row, f"{count}\n{shares[row, column]:.0%}", color=color, ha="center", va="center", fontsize=13
        )
    axis.set_xticks(range(2), list(names))
    axis.set_yticks(range(2), list(names), rotation=90, va="center")
    axis.set(xlabel=f"predicted, from probability {summary['threshold']:g} on", ylabel="true class")
    write_png(figure, file)


def draw_cubes(cubes: Sequence[np.ndarray], names: Sequence[str], file: str | Path, title: str = "") -> None:
    """Draw cubes in three planes through their middle, two to a row.

    Args:
        cubes: in [0, 1].
        names: one for each, above it.
        file: PNG to write (atomically).
        title: line at the top.

    Shape:
        cubes (H, W, D) each, axes (R, A, S).
    """
    rows = -(-len(cubes) // 2)
    figure = new_figure(8.4, 3.0 * rows + 0.5, GROUND)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, cube, name in zip(axes, cubes, names, strict=False):
        planes = mosaic(plane_slices(cube, [side // 2 for side in cube.shape]))
        axis.imshow(planes, cmap="gray", vmin=0, vmax=1, origin="lower")
        axis.set_title(name, color=INK, fontsize=8, parse_math=False)
    figure.suptitle(title, color=INK, fontsize=12, parse_math=False)
    write_png(figure, file)


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = new_figure(5.2, 5.2, GROUND)
    axis = figure.subplots()
    axis.set_facecolor(GROUND)
    axis.set_title(title, color=INK, fontsize=12, parse_math=False)
    axis.tick_params(colors=INK)
    axis.xaxis.label.set_color(INK)
    axis.yaxis.label.set_color(INK)
    axis.spines[:].set_color(INK)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis
