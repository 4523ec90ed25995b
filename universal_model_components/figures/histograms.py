# SPDX-License-Identifier: Apache-2.0
"""Histograms of intensities by set, before and after normalization (paper IV-B.1); `cubes.histograms` counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .style import BLUE, GREEN, ORANGE, PINK, RED, SKY, finish_axes, new_figure, svg_style, to_svg

COLORS = (BLUE, ORANGE, GREEN, RED, PINK, SKY)


def draw_histograms(series: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], axes: Sequence[str]) -> str:
    """Draw one plot for each title, with a line for each set, as SVG; the share of voxels is on a logarithmic scale.

    Args:
        series: by title and set, the edges of the bins and the share of each.
        axes: label of each plot's horizontal axis.

    Shape:
        edges (M + 1,), shares (M,).
    """
    names = sorted({name for lines in series.values() for name in lines})
    with svg_style("histograms"):
        figure = new_figure(4.8 * len(series), 3.1)
        plots = figure.subplots(1, len(series), squeeze=False)[0]
        for axis, (title, lines), label in zip(plots, series.items(), axes, strict=True):
            for name, (edges, shares) in lines.items():
                shown = np.where(shares > 0, shares, np.nan)
                axis.stairs(shown, edges, color=COLORS[names.index(name) % len(COLORS)], label=name, linewidth=1.3)
            finish_axes(axis, title, "share of voxels in a bin")
            axis.set(yscale="log", ylim=(1e-5, 1))
            axis.set_xlabel(label)
        return to_svg(figure)
