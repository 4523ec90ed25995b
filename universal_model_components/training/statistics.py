# SPDX-License-Identifier: Apache-2.0
"""The running statistics of batch normalization, re-estimated before the first step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ignite.engine import Events
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

logger = logging.getLogger(__name__)


class ReestimatedStatistics:
    """Estimate every running mean and variance of a network over one epoch of its training cubes.

    Loaded weights have the statistics of their own data. A resumed run has its statistics in the checkpoint, and
    estimates nothing. With several processes DistributedDataParallel broadcasts those of the first, which come from
    its own share of the cubes; synchronized batch normalization, on GPUs, uses the cubes of all.

    Args:
        network: not wrapped.
        loader: of the training, whose batches have "image".
    """

    def __init__(self, network: nn.Module, loader: Iterable[Mapping[str, Tensor]]) -> None:
        self.network, self.loader = network, loader

    def attach(self, engine: Any) -> None:
        """Estimate when `engine` begins its first epoch; attach it after `SamplerStep`."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Estimate, unless training has already taken steps."""
        if engine.state.iteration == 0:
            logger.info("loaded_statistics: running means and variances are estimated on the training cubes")
            update_bn((batch["image"] for batch in self.loader), self.network, engine.state.device)
