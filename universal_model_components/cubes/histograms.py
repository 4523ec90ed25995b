# SPDX-License-Identifier: Apache-2.0
"""Histograms of intensities, computed from a sample while a scan is prepared (paper IV-B.1); `figures` draws them.

Each scan's histogram has its own bins; to combine the scans of a set, each is spread over common bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SAMPLE = 2**20  # voxels: enough that a histogram of 1,000 bins is smooth
BINS = 1000  # before normalization: 3 HU a bin
NORMALIZED_BINS = 250
MARGIN = 0.25  # of the window, shown on both sides of it; what lies beyond is counted in the outermost bins


def sample(voxels: np.ndarray) -> Tensor:
    """Take about `SAMPLE` evenly spaced voxels, as float32; the odd step samples each row at different positions.

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


def count_normalized(volume: Tensor) -> np.ndarray:
    """Count a sample of a volume in [0, 1].

    Shape:
        volume (H, W, D) → (`NORMALIZED_BINS`,) uint32.
    """
    return torch.histc(sample(volume.numpy()), NORMALIZED_BINS, 0, 1).numpy().astype(np.uint32)


def spread(counts: np.ndarray, ends: Sequence[float], edges: np.ndarray) -> np.ndarray:
    """Rebin a histogram, as shares of its total, assuming a uniform distribution within each old bin.

    Args:
        counts: of equal bins.
        ends: of their axis.
        edges: of the new bins, ascending; they may cover less than the old ones.

    Shape:
        counts (N,); edges (M + 1,) → (M,).
    """
    below = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)]) / max(int(counts.sum()), 1)
    own = np.linspace(ends[0], ends[1], len(counts) + 1)
    return np.diff(np.interp(edges, own, below, left=0, right=1))
