# SPDX-License-Identifier: Apache-2.0
"""How a config starts a training run: the network on its device, and user errors in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from monai.engines import Trainer
from torch import nn

from ..utils.settings import to_bool


def run_training(trainer: Trainer, val_interval: int = 1) -> None:
    """Run a trainer; a failure that its user can mend ends in one line.

    Raises:
        SystemExit: for a file that cannot be read or written, a setting that does not fit, a loss that is not finite,
            or a run so short that it would never validate and leave no model.
    """
    if val_interval > trainer.state.max_epochs:
        raise SystemExit(f"train: val_interval {val_interval} is more than the {trainer.state.max_epochs} epochs")
    try:
        trainer.run()
    except (OSError, ValueError, FloatingPointError) as error:
        # from a worker process an error comes with its traceback, itself in the last line, after the name of its class
        line = re.sub(r"^[\w.]+Error: ", "", str(error).strip().splitlines()[-1])
        raise SystemExit(f"train: {line}") from error


def or_exit(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function from a config; a failure that its user can mend ends in one line, not in pages of the parser's.

    Raises:
        SystemExit: in place of `ValueError` and `OSError`.
    """
    try:
        return function(*arguments, **options)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


def place_network(
    network: nn.Module, device: torch.device, channels_last: bool | str = False, compile: bool | str = False
) -> nn.Module:
    """Move a network to its device, optionally in channels-last memory format and compiled; parameters stay shared."""
    network = network.to(device)
    if to_bool(channels_last, "channels_last"):
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return torch.compile(network) if to_bool(compile, "compile") else network  # type: ignore[return-value]
