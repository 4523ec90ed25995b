# SPDX-License-Identifier: Apache-2.0
"""The panels of a running pre-training: what the network makes of the same corrupted cubes, every few epochs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events

from .pictures import draw_panel


class RestorationPanels:
    """Draw the first cubes of the validation set, corrupted and restored, every few epochs.

    Args:
        output_dir: `panels/epoch_0001.png` … go there.
        interval: epochs between panels; 0 is off.
        draw: (original, corrupted, restored, file) → None, tensors (B, C, H, W, D) in [0, 1]; `draw_panel` by default.
    """

    def __init__(self, output_dir: str, interval: int = 1, draw: Callable[..., Any] = draw_panel) -> None:
        self.folder, self.interval, self.draw = Path(output_dir) / "panels", interval, draw

    def attach(self, engine: Any) -> None:
        """Draw the first batch of each of `engine`'s epochs that are due."""
        if self.interval > 0 and idist.get_rank() == 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Draw the batch that the evaluator has just finished, when it is the epoch's first."""
        if engine.state.iteration != 1 or engine.state.epoch % self.interval:
            return
        output = engine.state.output
        restored = torch.sigmoid(output["pred"]["restoration"].float())
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"epoch_{engine.state.epoch:04d}.png"
        self.draw(output["label"]["restoration"].cpu(), output["image"].cpu(), restored.cpu(), file)
