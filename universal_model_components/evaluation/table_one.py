# SPDX-License-Identifier: Apache-2.0
"""Table I of the paper as data: the statistics of its pre-training sets."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One set.

    Args:
        cases: number of volumes.
        modality: as in the paper.
        organ: as in the paper.
        shape: median, voxels, slices first; for BraTS2018 after a crop to the body.
        spacing: median, mm, slices first.
        cubes: small, medium, large.
    """

    cases: int
    modality: str
    organ: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    cubes: tuple[int, int, int]


TABLE_ONE = {
    "luna2016": Row(623, "CT", "Lung", (238, 512, 512), (1.25, 0.74, 0.74), (19936, 9968, 9968)),
    "lits2017": Row(111, "CT", "Liver", (432, 512, 512), (1.00, 0.77, 0.77), (7104, 3552, 3552)),
    "brats2018": Row(
        760, "MRI (T1, T1c, T2, FLAIR)", "Brain", (138, 169, 138), (1.00, 1.00, 1.00), (24320, 12160, 12160)
    ),
    "msd_heart": Row(30, "MRI", "Heart", (115, 320, 232), (1.37, 1.25, 1.25), (1920, 960, 960)),
}
