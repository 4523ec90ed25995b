# SPDX-License-Identifier: Apache-2.0
"""The objective of a pretext task."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional


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
