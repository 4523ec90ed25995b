# SPDX-License-Identifier: Apache-2.0
"""Which values of a mask are foreground, which are expected, and how others are handled."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..utils.settings import to_optional
from .errors import ScanError

logger = logging.getLogger(__name__)

PARTS = ("foreground", "background", "stray")


class Labels:
    """Merge the named values of a mask into one foreground.

    Args:
        values: None: every value above 0 is foreground (a whole tumor). A list: these are foreground, 0 is background.
            A mapping with "foreground" and, if wanted, "background" (other structures that the data set draws) and
            "stray" (values known to be mistakes of the data set: background, and reported where they occur).

    A mask of only 0 and 1 is a foreground mask, as MONAI Label writes it, unless `values` names 1.

    Raises:
        ValueError: when `values` is none of these, or names no foreground, or one value twice.
    """

    def __init__(self, values: Mapping[str, Sequence[int]] | Sequence[int] | None = None) -> None:
        values = to_optional(values)
        self.any_positive = values is None
        parts: Any = {} if values is None else values
        if not isinstance(parts, Mapping):
            parts = {"foreground": parts if isinstance(parts, (list, tuple)) else [parts]}
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ValueError(f"label_values: unknown entry {unknown[0]!r}, expected some of {list(PARTS)}")
        self.foreground, self.background, self.stray = (_values(parts.get(part, ()), part) for part in PARTS)
        if 0 not in self.foreground:
            self.background = sorted({0, *self.background})
        known = [*self.foreground, *self.background, *self.stray]
        if not self.any_positive and (not self.foreground or len(set(known)) < len(known)):
            raise ValueError(f"label_values: {values}: name each value once, and at least one as foreground")

    def merge(self, mask: Tensor, file: str) -> Tensor:
        """Return 1 where the mask is foreground and 0 elsewhere, float32.

        Args:
            mask: of any shape and type; whole numbers.
            file: where it is from, for messages.

        Raises:
            ScanError: when a value is not expected; the message names it and how many voxels have it.
        """
        values, counts = torch.unique(mask, return_counts=True)
        found = dict(zip(values.tolist(), counts.tolist(), strict=True))
        known = {*self.foreground, *self.background, *self.stray}
        plain = self.any_positive or (set(found) <= {0, 1} and 1 not in known)
        if plain:
            wrong = {value: n for value, n in found.items() if not (value >= 0 and value % 1 == 0)}  # not inf, not NaN
            expected = "whole numbers from 0 on"
        else:
            wrong = {value: n for value, n in found.items() if value not in known}
            expected = str(sorted(known))
        if wrong:
            value, count = max(wrong.items(), key=lambda item: item[1])
            raise ScanError(
                f"{file}: label value {value:g} in {count} voxels, expected {expected}: correct the label, "
                "or name the value in label_values"
            )
        for value in self.stray:
            if value in found:
                logger.warning("%s: stray label %d in %d voxels, taken as background", file, value, found[value])
        if plain:
            return (mask > 0).float()
        return torch.isin(mask, torch.tensor(self.foreground, dtype=mask.dtype, device=mask.device)).float()


def _values(given: Any, part: str) -> list[int]:
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise ValueError(f"label_values: {part} is {given!r}, expected whole numbers")
    return values
