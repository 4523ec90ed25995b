# SPDX-License-Identifier: Apache-2.0
"""The ramp of the gradient reversal between E and D, as of Ganin and Lempitsky 2015: E first learns, then hides."""

from __future__ import annotations

import math
from typing import Any

from ignite.engine import Events
from torch import nn

GAMMA = 10.0  # of Ganin and Lempitsky


class ReversalRamp:
    """Raise a network's `reversal` from 0 to what it was made with: times 2 / (1 + exp(−10 p)) − 1, p from 0 to 1.

    The value depends on the step alone, so a resumed run needs no state. It is an attribute of the network, which is
    the same object within DistributedDataParallel and `torch.compile`.

    Args:
        network: a `UniversalModel`, not wrapped; one without `reversal` where `share` is 0.
        share: of all steps, over which p rises; 0 is off: the coefficient is constant, as in the paper.
        epochs: of the whole run.
        writer: of TensorBoard, for the coefficient at each step; None writes nothing.
    """

    def __init__(self, network: nn.Module, share: float, epochs: int, writer: Any = None) -> None:
        self.share, self.epochs = float(share), int(epochs) if share else 0  # epochs matter to a ramp alone
        self._network, self._writer = network, writer
        self._end = float(network.reversal) if share else math.nan  # type: ignore[arg-type]

    def attach(self, engine: Any) -> None:
        """Set the coefficient before each iteration of `engine`, unless it is constant."""
        if self.share > 0:
            engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Set the coefficient of the iteration that begins."""
        steps = self.share * self.epochs * engine.state.epoch_length
        value = self._end * ramp((engine.state.iteration - 1) / steps)
        self._network.reversal = value  # type: ignore[assignment]
        if self._writer is not None:
            self._writer.add_scalar("reversal", value, engine.state.iteration)


def ramp(progress: float) -> float:
    """Return the share of the reversal's coefficient: 0 at the start, 1 from `progress` 1 on."""
    return 2 / (1 + math.exp(-GAMMA * progress)) - 1 if progress < 1 else 1.0
