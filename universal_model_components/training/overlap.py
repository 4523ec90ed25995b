# SPDX-License-Identifier: Apache-2.0
"""IoU and Dice of an epoch by MONAI's handlers, undefined (NaN) where no mask has foreground; MONAI's are 0 there."""

from __future__ import annotations

import math
from typing import Any

from monai.handlers import MeanDice, MeanIoUHandler


class _Defined:
    """The metric of a MONAI handler, or NaN when it is defined for no item."""

    metric_fn: Any

    def compute(self) -> Any:
        """Return the mean over the items for which the metric is defined, NaN without any."""
        values = self.metric_fn.get_buffer()
        if values is None or not values.isfinite().any():
            return math.nan
        return super().compute()  # type: ignore[misc]


class ForegroundIoU(_Defined, MeanIoUHandler):
    """MONAI's `MeanIoUHandler`; the result is NaN, not 0, when no reference mask has foreground, or without items."""


class ForegroundDice(_Defined, MeanDice):
    """MONAI's `MeanDice`, likewise."""
