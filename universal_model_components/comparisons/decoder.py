# SPDX-License-Identifier: Apache-2.0
"""The decoder of the paper's U-Net for encoders whose first level is not at full resolution or whose strides differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from ..method.unet import ConvBlock


def _upsampling(channels: int, scale: Sequence[int]) -> nn.Module:
    """A transposed convolution that keeps the channels, as in the U-Net; nothing where the size stays."""
    if math.prod(scale) == 1:
        return nn.Identity()
    kernel = (scale[0], scale[1], scale[2])
    return nn.ConvTranspose3d(channels, channels, kernel_size=kernel, stride=kernel)


class ScaledUpBlock(nn.Module):
    """`method.unet.UpBlock` for any scale: upsample, concatenate the skip connection, convolve twice.

    Args:
        in_channels: channels of the coarser level; upsampling keeps them.
        skip_channels: channels of the skip connection, and of the output.
        scale: of each axis.

    Shape:
        (B, in_channels, h, w, d), (B, skip_channels, H, W, D) → (B, skip_channels, H, W, D), H = scale[0] h, ….
    """

    def __init__(self, in_channels: int, skip_channels: int, scale: Sequence[int]) -> None:
        super().__init__()
        self.up = _upsampling(in_channels, scale)
        self.block = ConvBlock(in_channels + skip_channels, skip_channels, skip_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Upsample `x` and merge it with `skip`."""
        return self.block(torch.cat([self.up(x), skip], dim=1))


class SkipDecoder(nn.Module):
    """From an encoder's levels to logits at full resolution, which no level has.

    Args:
        features: channels of the levels, finest first.
        strides: of each level to the one before it, the first to the image; for each axis.
        out_channels: channels of the logits.

    Shape:
        list of (B, features[i], …) → (B, out_channels, H, W, D).
    """

    def __init__(self, features: Sequence[int], strides: Sequence[Sequence[int]], out_channels: int = 1) -> None:
        super().__init__()
        pairs = list(zip(itertools.pairwise(features), strides[1:], strict=True))[::-1]
        self.levels = nn.ModuleList([ScaledUpBlock(coarse, fine, scale) for (fine, coarse), scale in pairs])
        self.up = _upsampling(features[0], strides[0])
        self.block = ConvBlock(features[0], features[0], features[0])
        self.head = nn.Conv3d(features[0], out_channels, kernel_size=1)

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits."""
        x = levels[-1]
        for depth, level in enumerate(self.levels):
            x = level(x, levels[len(levels) - 2 - depth])
        return self.head(self.block(self.up(x)))
