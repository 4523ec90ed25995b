# SPDX-License-Identifier: Apache-2.0
"""Log lines after each validation in pre-training: restoration beside its baselines, and alarms with advice."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
from ignite.engine import Events

logger = logging.getLogger(__name__)

ADVICE = {
    "constant": (
        "the restored cubes are no better than the best constant for each cube, {val_restoration:.4f} against "
        "{val_constant:.4f}: train longer, lower corruption::nonlinear or, above 0, corruption::decreasing, or use "
        "modern.json"
    ),
    "scale": (
        "the scale classifier predicts one class for every cube: raise learning_rate::scale_classifier or alpha, or "
        "train longer"
    ),
    "modality": (
        "the discriminator predicts one modality for every cube, from the first validation on: it does not act on the "
        "encoder; raise learning_rate::discriminator"
    ),
}


class PretrainingAlarm:
    """Log restoration beside its baselines after every validation, and warn of conditions that last.

    The conditions are: a restoration that is not below the best constant for each cube (an oracle, which knows the
    original's mean), a scale classifier that predicts one class, and a discriminator that has predicted one class from
    the first validation on. Each alarm is given once for as long as its condition lasts.

    Args:
        patience: validations in a row; 0 gives no alarms.
        warn: called with each line; the log by default.
    """

    def __init__(self, patience: int = 3, warn: Callable[[str], Any] | None = None) -> None:
        self.patience, self.warn = int(patience), logger.warning if warn is None else warn
        self.counts = dict.fromkeys(ADVICE, 0)
        self.said: set[str] = set()  # alarms of the conditions that last
        self.adversarial = False  # whether the discriminator has ever predicted two classes

    def attach(self, engine: Any) -> None:
        """Read the metrics of `engine`, the validator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def state_dict(self) -> dict[str, Any]:
        """Return how long each condition has lasted."""
        return {"counts": dict(self.counts), "said": sorted(self.said), "adversarial": self.adversarial}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.counts, self.adversarial = dict(state["counts"]), bool(state["adversarial"])
        self.said = set(state.get("said", ()))

    def __call__(self, engine: Any) -> None:
        """Log one line, and any alarms.

        Raises:
            FloatingPointError: when the restoration error is not finite: the network is broken.
        """
        metrics = engine.state.metrics
        if not math.isfinite(metrics["val_restoration"]):
            raise FloatingPointError(
                f"val_restoration is {metrics['val_restoration']}: give lower learning rates, or gradient_clip"
            )
        if idist.get_rank() == 0:
            logger.info(
                "restoration %.4f; corrupted input %.4f, best constant for each cube %.4f",
                *(metrics[f"val_{name}"] for name in ("restoration", "corrupted", "constant")),
            )
        self.adversarial |= metrics.get("val_modality_classes", 1) > 1
        now = {
            "constant": metrics["val_restoration"] >= metrics["val_constant"],
            "scale": metrics.get("val_scale_classes", 2) < 2,
            "modality": metrics.get("val_modality_classes", 2) < 2 and not self.adversarial,
        }
        for name, present in now.items():
            self.counts[name] = self.counts[name] + 1 if present else 0
            if not present:
                self.said.discard(name)
            elif self.counts[name] >= self.patience > 0 and name not in self.said:
                self.said.add(name)
                if idist.get_rank() == 0:
                    self.warn(ADVICE[name].format(**metrics))


class ChanceAlarm:
    """Log a classifier's accuracy beside chance after every validation, and say when it stays near chance.

    The alarm is given when the accuracy has been under twice chance for `patience` validations in a row, and again only
    after it has recovered.

    Args:
        metric: name of the accuracy among the validator's metrics.
        num_classes: classes that are equally frequent; chance is one of them.
        patience: validations in a row; 0 gives no alarm.
        warn: called with the line; the log by default.
    """

    def __init__(
        self, metric: str, num_classes: int, patience: int = 3, warn: Callable[[str], Any] | None = None
    ) -> None:
        self.metric, self.chance, self.patience = metric, 1 / num_classes, int(patience)
        self.warn = logger.warning if warn is None else warn
        self.count, self.said = 0, False

    def attach(self, engine: Any) -> None:
        """Look at the metrics of `engine`, the validator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations in a row were near chance, and whether that was said."""
        return {"count": self.count, "said": self.said}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state_dict`'s result."""
        self.count, self.said = int(state["count"]), bool(state.get("said", False))

    def __call__(self, engine: Any) -> None:
        """Log one line, and the alarm when it is due."""
        accuracy = float(engine.state.metrics[self.metric])
        self.count = self.count + 1 if accuracy < 2 * self.chance else 0
        due = self.count >= self.patience > 0 and not self.said
        self.said = self.count > 0 and (self.said or due)
        if idist.get_rank() > 0:
            return
        logger.info("%s %.4f; chance %.4f", self.metric, accuracy, self.chance)
        if due:
            self.warn(
                f"{self.metric} {accuracy:.4f} is less than twice chance, {self.chance:.4f}, for {self.patience} "
                "validations: train longer, on more scans, or change learning_rate"
            )
