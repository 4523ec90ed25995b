# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from svg import texts

from universal_model_components.figures.histograms import draw_histograms


def test_a_plot_for_each_title_and_a_line_for_each_set():
    edges, shares = np.linspace(0, 1, 11), np.full(10, 0.1)
    empty = np.zeros(10)  # nothing to draw on a logarithmic scale
    series = {"CT: before": {"luna2016": (edges, shares), "own": (edges, empty)}, "CT: after": {"own": (edges, shares)}}
    words = texts(draw_histograms(series, ["HU", "intensity"]))
    for expected in ("CT: before", "CT: after", "luna2016", "own", "HU", "intensity", "share of voxels in a bin"):
        assert expected in words
