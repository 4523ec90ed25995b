# SPDX-License-Identifier: Apache-2.0
"""The objective of a pretext task, and what its tasks take from a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..method.genesis import draw_seeds


class PretextObjective(nn.Module):
    """Cross-entropy of the one part that a pretext task predicts, mean over the batch.

    Args:
        part: its name: "rotation" or "jigsaw".

    Shape:
        logits {part: (B, K)} and targets {part: (B,)} → {part: scalar, "loss": the same scalar}.
    """

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def forward(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss, by the part's name for the records and as "loss" for the trainer."""
        loss = functional.cross_entropy(logits[self.part].float(), targets[self.part])
        return {self.part: loss, "loss": loss}


def cubes_and_seeds(
    batch: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Return a batch's cubes on the device, and their seeds on the CPU, which are drawn when the batch has none.

    Args:
        batch: of the cube store: "image" (B, C, H, W, D) and, where present, "seed" (B,).
        device: of the cubes.
        non_blocking: copy to the device without waiting (from pinned memory).
        kwargs: passed on to `Tensor.to` for the cubes.
    """
    cubes = batch["image"].to(device=device, non_blocking=non_blocking, **kwargs).as_subclass(Tensor)
    seeds = batch["seed"] if "seed" in batch else draw_seeds(len(cubes))
    return cubes, seeds.cpu()
