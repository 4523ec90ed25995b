# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers of a training run: its alarms, its early stop and its progress.

State that must survive a restart has a `state_dict`, and is named in the objects of `checkpoints.TrainingCheckpoint`.
Files are written atomically, by rank 0 only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from ignite.handlers import EarlyStopping, ProgressBar

from .loss_record import learning_rates, loss_values
from .run import pass_on_errors

logger = logging.getLogger(__name__)


def use_handler(handler: Any) -> Any:
    """Return `handler`: an entry of a config's handler list that is defined elsewhere in the config, under a name.

    MONAI Label and MonaiAlgo require literal dicts in these lists and prepend entries of their own, so neither "@name"
    nor a reference by index works.
    """
    return handler


class TrainingAlarm:
    """Stop at a loss that is not finite; warn of a restoration that has collapsed to a constant.

    Any error that ends the run is passed on unchanged, before MONAI's `StatsHandler` logs its long traceback: a user
    error then ends in one line (`utils.errors`), and any other in the interpreter's own traceback.

    A restoration counts as collapsed when, over `patience` successive iterations, the standard deviation within the
    restored cubes stays under `tolerance` of that within the originals. A learning rate of 1 with β = 10 can do that.

    Args:
        patience: successive iterations; 0 checks only the loss, as for tasks other than restoration.
        tolerance: share of the originals' standard deviation.
        warn: called with the one line; the log by default.
        advice: what to do, appended to either line.
    """

    def __init__(
        self,
        patience: int = 20,
        tolerance: float = 0.02,
        warn: Callable[[str], Any] | None = None,
        advice: str = "lower learning_rate, set gradient_clip or warmup_steps, or use modern.json",
    ) -> None:
        self.patience, self.tolerance, self.advice = patience, tolerance, advice
        self.warn = logger.warning if warn is None else warn
        self.constant_iterations = 0

    def attach(self, engine: Any) -> None:
        """Watch every iteration of `engine`; attach it before `StatsHandler` and handlers that write checkpoints."""
        pass_on_errors(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def state_dict(self) -> dict[str, int]:
        """Return how long the output has been constant."""
        return {"constant_iterations": self.constant_iterations}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore the result of `state_dict`."""
        self.constant_iterations = int(state["constant_iterations"])

    def __call__(self, engine: Any) -> None:
        """Check the iteration's losses and its restored cubes."""
        losses = loss_values(engine.state.output)
        wrong = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if wrong:
            rates = learning_rates(engine.optimizer)
            message = (
                f"non-finite loss at step {engine.state.iteration}: {wrong}, learning rates {rates}; {self.advice}"
            )
            logger.error(message)
            raise FloatingPointError(message)
        if self.patience > 0:
            self._check_spread(engine)

    def _check_spread(self, engine: Any) -> None:
        restored = torch.stack([torch.sigmoid(o["pred"].float()) for o in engine.state.output]).flatten(1)
        original = torch.stack([o["label"] for o in engine.state.output]).flatten(1)
        spread = float(restored.std(dim=1).mean() / original.std(dim=1).mean().clamp_min(1e-6))
        self.constant_iterations = self.constant_iterations + 1 if spread < self.tolerance else 0
        if self.constant_iterations == self.patience:
            self.warn(
                f"collapse at step {engine.state.iteration}: the restored cubes have been constant for {self.patience} "
                f"steps (their spread is {spread:.2%} of the originals'); {self.advice}"
            )


class EarlyStop:
    """Ignite's early stopping on one metric; attach it to the trainer, after what computes the metric.

    Args:
        validator: the engine with the metric; None is the trainer itself.
        metric: its name.
        patience: values without a new best; 0 is off.
        interval: epochs between values; 0 is off.
        higher_is_better: of the metric; False for a loss.
        after: epochs whose values do not count, such as those in which only a part of the network is trained.

    Without a value, as in a run without validation cases, it never stops.
    """

    def __init__(
        self,
        validator: Any,
        metric: str,
        patience: int = 0,
        interval: int = 1,
        higher_is_better: bool = False,
        after: float = 0,
    ) -> None:
        self.validator, self.metric, self.patience, self.interval = validator, metric, patience, interval
        self.after = after
        self.sign = 1.0 if higher_is_better else -1.0
        self.handler: EarlyStopping | None = None

    def attach(self, engine: Any) -> None:
        """Stop `engine` when the metric has not improved for `patience` values."""
        if self.patience > 0 and self.interval > 0:
            self.handler = EarlyStopping(self.patience, self._score, engine)
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self._look)

    def _look(self, engine: Any) -> None:
        if self.handler is not None and engine.state.epoch > self.after and self.metric in self._metrics(engine):
            self.handler(engine)

    def _metrics(self, engine: Any) -> Mapping[str, Any]:
        return (engine if self.validator is None else self.validator).state.metrics

    def _score(self, engine: Any) -> float:
        return self.sign * float(self._metrics(engine)[self.metric])

    def state_dict(self) -> dict[str, Any]:
        """Return the counter and the best score, or an empty dict when off."""
        return {} if self.handler is None else dict(self.handler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`; a run that had been stopped stays stopped."""
        if self.handler is None or not state:
            return
        self.handler.load_state_dict(state)
        if self.handler.counter >= self.patience:
            self.handler.trainer.terminate()


class Progress:
    """A progress bar per epoch, with every loss of the last batch.

    Args:
        name: label of the bar.
    """

    def __init__(self, name: str = "pre-training") -> None:
        self.name = name

    def attach(self, engine: Any) -> None:
        """Show the progress of `engine`, on rank 0."""
        if idist.get_rank() == 0:
            ProgressBar(persist=True, desc=self.name).attach(engine, output_transform=loss_values)
