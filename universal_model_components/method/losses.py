# SPDX-License-Identifier: Apache-2.0
"""The pre-training objective (paper Eq. 1 to 4). Operates on tensors only.

The min-max game of Eq. 2 and 4 is implemented by gradient reversal inside the network, so all losses here are
minimized.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional


def restoration_loss(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, mean_weight: float = 1.0
) -> torch.Tensor:
    """Mean squared error between the restored cube, sigmoid(logits), and the original (L_rec, Eq. 1), over all voxels.

    Computed in float32 for any precision of the logits.

    Args:
        logits: of the restored cubes.
        target: the original cubes.
        weight: of each voxel in the mean; the same for all when None, as in the paper.
        mean_weight: weight of each cube's squared mean error, which is a part of its mean squared error; 1 in the
            paper. 0 is a mean-matched error: a restored cube that is too bright by a constant costs nothing.

    Shape:
        (B, C, H, W, D), (B, C, H, W, D), weight likewise → scalar.
    """
    restored = torch.sigmoid(logits.float())
    if weight is None and mean_weight == 1:
        return functional.mse_loss(restored, target.float())
    error = (restored - target.float()).flatten(1)  # (B, voxels)
    weights = torch.ones_like(error) if weight is None else weight.flatten(1)
    mean = (error * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1e-6)  # (B, 1)
    error = error - (1 - mean_weight**0.5) * mean
    return (error.square() * weights).sum() / weights.sum().clamp_min(1e-6)


class UniversalObjective(nn.Module):
    """L_adv + α L_scale + β L_rec (Eq. 4); parts whose logits are absent are left out (the paper's ablations).

    Args:
        alpha: weight of the scale classifier's cross-entropy.
        beta: weight of the restoration error.
        unchanged_weight: weight, in the restoration error, of voxels that the corruption left as they were; 1 in the
            paper, 0 is a loss over corrupted voxels only.
        mean_weight: weight of each cube's squared mean error in the restoration error; 1 in the paper.

    Shape:
        two dicts of tensors: logits {"restoration" (B, C, H, W, D), "modality" (B, M), "scale" (B, K)} and targets
        {"restoration" (B, C, H, W, D), "modality" (B,), "scale" (B,)} → dict of scalars with the same keys and "loss".
        targets["changed"] (B, C, H, W, D) bool is needed when `unchanged_weight` is not 1.
    """

    def __init__(
        self, alpha: float = 1.0, beta: float = 10.0, unchanged_weight: float = 1.0, mean_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.unchanged_weight = float(unchanged_weight)
        self.mean_weight = float(mean_weight)
        self.weights = {"restoration": float(beta), "modality": 1.0, "scale": float(alpha)}

    def forward(
        self, logits: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return every loss separately, unweighted, and their weighted sum as "loss"."""
        weight = None
        if self.unchanged_weight != 1:
            weight = torch.where(targets["changed"], 1.0, self.unchanged_weight)
        restored, original = logits["restoration"], targets["restoration"]
        losses = {"restoration": restoration_loss(restored, original, weight, self.mean_weight)}
        for name in ("modality", "scale"):
            if name in logits:
                losses[name] = functional.cross_entropy(logits[name].float(), targets[name])
        losses["loss"] = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        return losses
