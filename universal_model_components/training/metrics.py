# SPDX-License-Identifier: Apache-2.0
"""Computing, comparing and reading the metrics of a validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ignite.metrics import ConfusionMatrix
from torch import Tensor


def logits_and_targets(part: str) -> Callable[[Mapping[str, Any]], tuple[Tensor, Tensor]]:
    """Return an `output_transform` for pre-training's validation: the logits and the targets of one part.

    Args:
        part: "restoration", "modality" or "scale".
    """

    def transform(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        return output["pred"][part], output["label"][part]

    return transform


def read_metric(name: str) -> Callable[[Any], float]:
    """Return a `step_transform` for `LrScheduleHandler` on a validator: the value of one of its metrics."""

    def transform(engine: Any) -> float:
        return engine.state.metrics[name]

    return transform


def lower_is_better(current: float, best: float) -> bool:
    """Compare a loss with the best so far; a `metric_cmp_fn` of MONAI's evaluators."""
    return current < best


def at_least_as_good(current: float, best: float) -> bool:
    """Compare a score with the best so far; of equal ones the latest wins, because it was trained longer."""
    return current >= best


def input_and_target(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """An `output_transform` for pre-training's validation: the corrupted cubes and the originals."""
    return output["image"], output["label"]["restoration"]


def constant_error(restored: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the best constant for each cube, its own mean, independent of the restoration; a scalar.

    It is an oracle: it knows each original's mean, which a network that is given a corrupted cube does not.
    """
    return (target - target.mean(dim=(1, 2, 3, 4), keepdim=True)).square().mean()


class PredictedClasses(ConfusionMatrix):
    """How many classes are predicted for any sample of any process; NaN where all samples are of one class.

    A single answer is right then.
    """

    def compute(self) -> float:
        """Return the number."""
        counts = super().compute()  # by class, by prediction
        of_classes, of_predictions = ((counts.sum(dim) > 0).sum() for dim in (1, 0))
        return float(of_predictions) if of_classes > 1 else math.nan
