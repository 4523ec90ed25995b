# SPDX-License-Identifier: Apache-2.0
"""Bounding box of the body in an MRI, despite background noise (implied by Table I: the median shape of BraTS2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

FOREGROUND_GRID = 3.0  # mm: block means on this grid average out the background noise
FOREGROUND_MARGIN = 6.0  # mm


def otsu(values: np.ndarray) -> float:
    """Return the threshold that best separates two classes of values (Otsu 1979), from a histogram of 256 bins."""
    counts, edges = np.histogram(values, 256)
    centers = (edges[1:] + edges[:-1]) / 2
    below, mass = np.cumsum(counts)[:-1], np.cumsum(counts * centers)
    above = counts.sum() - below
    between = below * above * (mass[:-1] / np.maximum(below, 1) - (mass[-1] - mass[:-1]) / np.maximum(above, 1)) ** 2
    return float(edges[1:-1][between.argmax()])


def find_foreground(volume: Tensor, spacing: Sequence[float]) -> tuple[tuple[slice, ...], float]:
    """Find the bounding box of the body in an MRI whose background is noisy.

    Block means on a grid of about 3 mm suppress the noise, their square root keeps dim tissue above Otsu's
    threshold, the largest connected component is the body, and a margin of 6 mm is kept around it.

    Returns:
        The box, and the size of the largest part that it leaves out, such as the other leg, as a share of the body's.

    Shape:
        volume (H, W, D) in [0, 1] → three slices.
    """
    block = [max(1, round(FOREGROUND_GRID / side)) for side in spacing]
    coarse = torch.nn.functional.avg_pool3d(volume[None], block, ceil_mode=True)[0].sqrt().numpy()
    coarse = np.minimum(coarse, np.percentile(coarse, 99))  # a few bright vessels must not raise the threshold
    parts, count = ndimage.label(coarse > otsu(coarse))
    if count == 0:
        return tuple(slice(0, side) for side in volume.shape), 0.0
    sizes = np.bincount(parts.ravel())[1:]
    largest = ndimage.find_objects(parts)[sizes.argmax()]
    parts[largest] = 0
    left_out = np.bincount(parts.ravel(), minlength=2)[1:].max() / sizes.max()
    margin = [round(FOREGROUND_MARGIN / side) for side in spacing]
    box = tuple(
        slice(max(0, part.start * size - edge), min(side, part.stop * size + edge))
        for part, size, edge, side in zip(largest, block, margin, volume.shape, strict=True)
    )
    return box, float(left_out)
