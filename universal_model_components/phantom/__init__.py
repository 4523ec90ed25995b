# SPDX-License-Identifier: Apache-2.0
"""Synthetic scans that look like anatomy, drawn from a seed: chest CT, heart CT and MRI, head MRI, with masks.

They let the whole pipeline run where there are no real scans (`make demo`, the tests). `shapes` draws, `chest`, `heart`
and `brain` hold the anatomy, `tissues` the intensities, `scans` simulates the scanner, `files` writes a folder. It may
import `utils`.
"""

from __future__ import annotations

from .files import write_labeled_phantoms, write_phantoms
from .scans import Phantom, draw_brain_mri, draw_heart_ct, draw_heart_mri, draw_thorax_ct

__all__ = [
    "Phantom",
    "draw_brain_mri",
    "draw_heart_ct",
    "draw_heart_mri",
    "draw_thorax_ct",
    "write_labeled_phantoms",
    "write_phantoms",
]
