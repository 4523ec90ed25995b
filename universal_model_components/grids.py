# SPDX-License-Identifier: Apache-2.0
"""Whether two grids of voxels are one and the same in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GRID_TOLERANCE = 0.1  # of the smallest voxel side: how far a label's corner may lie from its image's


def grid_difference(affine: np.ndarray, expected: np.ndarray, shape: Sequence[int]) -> str | None:
    """Say how far a grid's corners lie from where they should, or None when that is within `GRID_TOLERANCE`.

    Args:
        affine: voxel → mm.
        expected: what it should be.
        shape: of both, in voxels.
    """
    corners = np.array([[*(np.unravel_index(i, (2, 2, 2)) * (np.asarray(shape) - 1)), 1.0] for i in range(8)])
    drift = float(np.abs((corners @ (affine - expected).T)[:, :3]).max())
    smallest = float(np.linalg.norm(expected[:3, :3], axis=0).min())
    return None if drift <= GRID_TOLERANCE * smallest else f"its corners lie up to {drift:.3g} mm from those"
