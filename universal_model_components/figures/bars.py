# SPDX-License-Identifier: Apache-2.0
"""Bars of the restoration error by kind of corruption, for the report."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .style import BLUE, ORANGE, PINK, SKY, finish_axes, new_figure, svg_style, to_svg


def draw_errors(kinds: Mapping[str, Mapping[str, float]]) -> str:
    """Bars as SVG: for each kind of corruption, the errors of input, constants and restored cube.

    Args:
        kinds: label of the kind → `corrupted_mse`, `training_mean_mse`, `constant_mse`, `restored_mse`.
    """
    series = (
        ("corrupted_mse", "corrupted input", ORANGE, ""),
        ("training_mean_mse", "training mean", PINK, "\\\\"),
        ("constant_mse", "oracle constant", SKY, "//"),
        ("restored_mse", "restored", BLUE, ""),
    )
    with svg_style("errors"):
        figure = new_figure(9.2, 3.2)
        axis = figure.subplots()
        for offset, (key, name, color, hatch) in zip((-0.3, -0.1, 0.1, 0.3), series, strict=True):
            heights = [float(values.get(key) or np.nan) for values in kinds.values()]
            places = np.arange(len(heights)) + offset
            axis.bar(places, heights, 0.19, color=color, label=name, hatch=hatch, edgecolor="#ffffff80", linewidth=0)
        axis.set_xticks(range(len(kinds)), list(kinds))
        finish_axes(axis, "", "mean squared error")
        axis.grid(visible=False, axis="x")
        axis.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        return to_svg(figure)
