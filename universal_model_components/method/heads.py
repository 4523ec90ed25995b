# SPDX-License-Identifier: Apache-2.0
"""Heads on the encoder's features: modality discriminator D and gradient reversal (III-B), scale classifier S (III-C).

A head takes feature maps and does not depend on the network that produced them, so it works with any encoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from .unet import FEATURES, ConvBlock


def reverse_gradient(x: torch.Tensor, coefficient: float = 1.0) -> torch.Tensor:
    """Return `x` unchanged, with its gradient times −`coefficient` (paper III-B, Eq. 2 as one backward pass).

    x minus its detached self is exactly 0 and carries the gradient. Plain arithmetic can be scripted and saved with
    TorchScript; an `autograd.Function` cannot.

    Shape:
        any → the same.
    """
    constant = x.detach()
    return constant - coefficient * (x - constant)


class PooledClassifier(nn.Module):
    """Global average pooling and two fully connected layers, with ReLU between them.

    Args:
        in_channels: channels of the feature map.
        hidden_channels: units of the hidden layer.
        num_classes: number of logits.

    Shape:
        (B, in_channels, H, W, D) → (B, num_classes).
    """

    def __init__(self, in_channels: int, hidden_channels: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_channels, hidden_channels)
        self.output = nn.Linear(hidden_channels, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        pooled = features.mean(dim=[2, 3, 4])  # (B, in_channels)
        return self.output(torch.relu(self.hidden(pooled)))


class ScaleClassifier(PooledClassifier):
    """S (paper III-C): classify the scale of a cube's crop from the deepest features, with 1024 hidden units.

    Args:
        in_channels: channels of the encoder's deepest level.
        num_scales: large, medium, small by default.

    Shape:
        (B, in_channels, H, W, D) → (B, num_scales).
    """

    def __init__(self, in_channels: int = FEATURES[-1], num_scales: int = 3) -> None:
        super().__init__(in_channels, 1024, num_scales)


class ModalityDiscriminator(nn.Module):
    """D (paper III-B): classify a cube's modality from the encoder's pooled levels.

    Three stages of two convolutions and 2×2×2 max-pooling, global average pooling, two fully connected layers. The
    first stage reads the encoder's first level after its pooling; after each pooling of D but the last, the encoder's
    next pooled level, which has the same size by then, is concatenated: the paper's dense connection between E and D.

    Args:
        features: channels of the encoder's levels, finest first; all but the last are read, and are D's stage widths.
        num_modalities: number of logits.

    Shape:
        list of (B, features[i], H/2^i, W/2^i, D/2^i) for i < levels − 1 → (B, num_modalities).
    """

    def __init__(self, features: Sequence[int] = FEATURES, num_modalities: int = 2) -> None:
        super().__init__()
        widths = list(features[:-1])
        inputs = [widths[0]] + [own + other for own, other in itertools.pairwise(widths)]
        self.stages = nn.ModuleList([ConvBlock(i, o, o) for i, o in zip(inputs, widths, strict=True)])
        self.pool = nn.MaxPool3d(2)
        self.classifier = PooledClassifier(widths[-1], 64, num_modalities)

    def forward(self, pooled_levels: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits."""
        x = pooled_levels[0]
        for depth, stage in enumerate(self.stages):
            if depth > 0:
                x = torch.cat([x, pooled_levels[depth]], dim=1)
            x = self.pool(stage(x))  # (B, widths[depth], H/2^(depth + 1), ...)
        return self.classifier(x)
