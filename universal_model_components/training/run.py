# SPDX-License-Identifier: Apache-2.0
"""Starting a training run from a config, and handling the errors that end it."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Events
from monai.engines import Trainer
from torch import nn

from ..utils.settings import to_bool


def run_training(trainer: Trainer, val_interval: int = 1) -> None:
    """Run a trainer.

    Raises:
        ValueError: before the run, when it would never validate, and so write no model.
    """
    if val_interval > trainer.state.max_epochs:
        raise ValueError(f"val_interval {val_interval} is more than the {trainer.state.max_epochs} epochs")
    trainer.run()


def pass_on_errors(engine: Any) -> None:
    """Let errors leave `engine` unchanged; attached before MONAI's `StatsHandler`, which logs long tracebacks."""
    engine.add_event_handler(Events.EXCEPTION_RAISED, _raise)


def _raise(engine: Any, error: BaseException) -> None:
    raise error


def place_network(
    network: nn.Module, device: torch.device, channels_last: bool | str = False, compile: bool | str = False
) -> nn.Module:
    """Move a network to its device, optionally in channels-last memory format and compiled; parameters stay shared."""
    network = network.to(device)
    if to_bool(channels_last, "channels_last"):
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return torch.compile(network) if to_bool(compile, "compile") else network  # type: ignore[return-value]
