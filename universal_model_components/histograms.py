# SPDX-License-Identifier: Apache-2.0
"""Histograms of intensities: counted while a scan is prepared, from a sample, and drawn by set (paper IV-B.1).

Counts of one scan are on its own axis; to lay scans of one set together, each is spread over a common one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .pictures import BLUE, GREEN, ORANGE, PINK, RED, SKY, _dress, _svg, _svg_style

SAMPLE = 2**20  # voxels: enough that a histogram of 1,000 bins is smooth
BINS = 1000  # before normalisation: 3 HU a bin
NORMALISED_BINS = 250
MARGIN = 0.25  # of the window, shown on both sides of it; what lies beyond is counted in the outermost bins
COLOURS = (BLUE, ORANGE, GREEN, RED, PINK, SKY)


def sample(voxels: np.ndarray) -> Tensor:
    """Take about `SAMPLE` voxels evenly, as float32; the odd step meets all rows at different places.

    Shape:
        voxels (H, W, D) → (N,).
    """
    return torch.from_numpy(voxels.ravel(order="K")[:: voxels.size // SAMPLE | 1].astype(np.float32))


def count_intensities(values: Tensor, window: Sequence[float] | None) -> tuple[np.ndarray, tuple[float, float]]:
    """Count a sample on an axis around the window, or on its own range.

    Returns:
        Counts, and the two ends of their axis.

    Shape:
        values (N,) → (`BINS`,) uint32.
    """
    low, high = (float(end) for end in values.aminmax())
    if window is not None:
        margin = MARGIN * (window[1] - window[0])
        low, high = window[0] - margin, window[1] + margin
    counts = torch.histc(values.clamp(low, high), BINS, low, high)
    return counts.numpy().astype(np.uint32), (float(low), float(high))


def count_normalised(volume: Tensor) -> np.ndarray:
    """Count a sample of a volume in [0, 1].

    Shape:
        volume (H, W, D) → (`NORMALISED_BINS`,) uint32.
    """
    return torch.histc(sample(volume.numpy()), NORMALISED_BINS, 0, 1).numpy().astype(np.uint32)


def spread(counts: np.ndarray, ends: Sequence[float], edges: np.ndarray) -> np.ndarray:
    """Bring a histogram onto other bins, as shares of its own total, evenly within each old bin.

    Args:
        counts: of equal bins.
        ends: of their axis.
        edges: of the new bins, rising; they may cover less than the old ones.

    Shape:
        counts (N,); edges (M + 1,) → (M,).
    """
    below = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)]) / max(int(counts.sum()), 1)
    own = np.linspace(ends[0], ends[1], len(counts) + 1)
    return np.diff(np.interp(edges, own, below, left=0, right=1))


def draw_histograms(series: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], axes: Sequence[str]) -> str:
    """Draw one plot for each title, with a line for each set, as SVG; the share of voxels is on a logarithmic scale.

    Args:
        series: by title and set, the edges of the bins and the share of each.
        axes: what the horizontal axis of each plot is.

    Shape:
        edges (M + 1,), shares (M,).
    """
    names = sorted({name for lines in series.values() for name in lines})
    with matplotlib.rc_context(_svg_style("histograms")):
        figure = Figure(figsize=(4.8 * len(series), 3.1), layout="constrained")
        plots = figure.subplots(1, len(series), squeeze=False)[0]
        for axis, (title, lines), label in zip(plots, series.items(), axes, strict=True):
            for name, (edges, shares) in lines.items():
                shown = np.where(shares > 0, shares, np.nan)
                axis.stairs(shown, edges, color=COLOURS[names.index(name) % len(COLOURS)], label=name, linewidth=1.3)
            _dress(axis, title, "share of voxels in a bin")
            axis.set(yscale="log", ylim=(1e-5, 1))
            axis.set_xlabel(label)
        return _svg(figure)
