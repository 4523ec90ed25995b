# SPDX-License-Identifier: Apache-2.0
"""Masks that are empty everywhere: nothing to learn from in training, no IoU in validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ..imaging.errors import ScanError
from ..imaging.labels import Labels
from ..imaging.reading import read_scan

logger = logging.getLogger(__name__)


def with_foreground(
    cases: Sequence[dict[str, Any]], label_values: Any = None, split: str = "training"
) -> Sequence[dict[str, Any]]:
    """Return the cases, after checking that at least one of their masks has foreground.

    Masks are read until one has some, so usually one is. A mask that cannot be read ends the check: whoever reads the
    cases reports it.

    Args:
        cases: with the path of a mask in `label`.
        label_values: which values are foreground, see `imaging.labels.Labels`.
        split: name of their list; without foreground "training" is an error, any other list a warning in the log.

    Raises:
        ValueError: when nothing can be learned; one line.
    """
    labels = Labels(label_values)
    for case in cases:
        try:
            mask, _ = read_scan(case["label"])
            if labels.merge(torch.from_numpy(mask.astype("float32")), case["label"]).any():
                return cases
        except ScanError:
            return cases
    if cases:
        found = f"label_values: none of the {len(cases)} {split} masks has foreground, first {cases[0]['label']}"
        if split == "training":
            raise ValueError(f"{found}: nothing can be learned, correct the masks or label_values")
        logger.warning("%s: IoU and Dice are undefined, and the last epoch's model is kept", found)
    return cases
