# SPDX-License-Identifier: Apache-2.0
"""The 3D U-Net of the paper (IV-B.2): encoder E, decoder G, batch normalization, logits out.

E has one level for each entry of `features`; between levels it halves the cube by max-pooling. G doubles it again by
transposed convolutions and joins the skip connections. The decoder gets channel numbers, never the encoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

FEATURES = (64, 128, 256, 512)


class ConvBlock(nn.Module):
    """Two 3×3×3 convolutions, each followed by batch normalization and ReLU.

    Args:
        in_channels: channels of the input.
        hidden_channels: channels between the two convolutions.
        out_channels: channels of the output.
        batch_statistics: normalize by the batch's own mean and variance in evaluation too, as the original
            implementations do; outputs then depend on the other samples of the batch.

    Shape:
        (B, in_channels, H, W, D) → (B, out_channels, H, W, D).
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, batch_statistics: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, hidden_channels, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm3d(hidden_channels, track_running_stats=not batch_statistics)
        self.conv2 = nn.Conv3d(hidden_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm3d(out_channels, track_running_stats=not batch_statistics)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply both convolutions."""
        x = self.activation(self.norm1(self.conv1(x)))
        return self.activation(self.norm2(self.conv2(x)))


class Encoder(nn.Module):
    """E: one `ConvBlock` per level, max-pooling between levels.

    The first convolution of a level has half of its output channels, as in the implementation that the paper follows:
    1→32→64, 64→64→128, 128→128→256, 256→256→512 at the default width.

    Args:
        in_channels: channels of the image.
        features: output channels of each level, finest first; even numbers.
        batch_statistics: see `ConvBlock`.

    Shape:
        (B, in_channels, H, W, D) → list of (B, features[i], H/2^i, W/2^i, D/2^i).

    Raises:
        ValueError: when `features` has fewer than two levels or an odd or non-positive number, or when a side of the
            image is not divisible by 2^(levels − 1).
    """

    def __init__(
        self, in_channels: int = 1, features: Sequence[int] = FEATURES, batch_statistics: bool = False
    ) -> None:
        super().__init__()
        if len(features) < 2 or any(width < 2 or width % 2 for width in features):
            raise ValueError(f"features must be two or more even positive channel numbers, got {list(features)}")
        self.divisor = 2 ** (len(features) - 1)
        inputs = [in_channels, *features[:-1]]
        blocks = [ConvBlock(i, o // 2, o, batch_statistics) for i, o in zip(inputs, features, strict=True)]
        self.levels = nn.ModuleList(blocks)
        self.pool = nn.MaxPool3d(2)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of every level, finest first, before pooling."""
        if not torch.jit.is_tracing():
            for side in image.shape[2:]:
                if side % self.divisor != 0:
                    raise ValueError(
                        f"image sides must be divisible by {self.divisor}, got shape {[int(n) for n in image.shape]}"
                    )
        outputs: list[torch.Tensor] = []
        x = image
        for depth, level in enumerate(self.levels):
            x = level(x if depth == 0 else self.pool(x))  # (B, features[depth], H/2^depth, ...)
            outputs.append(x)
        return outputs


class UpBlock(nn.Module):
    """Double the cube by a transposed convolution, concatenate the skip connection, convolve twice.

    Args:
        in_channels: channels of the coarser level; the transposed convolution keeps them.
        skip_channels: channels of the skip connection, and of the output.
        batch_statistics: see `ConvBlock`.

    Shape:
        (B, in_channels, H, W, D), (B, skip_channels, 2H, 2W, 2D) → (B, skip_channels, 2H, 2W, 2D).
    """

    def __init__(self, in_channels: int, skip_channels: int, batch_statistics: bool = False) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, in_channels, kernel_size=2, stride=2)
        self.block = ConvBlock(in_channels + skip_channels, skip_channels, skip_channels, batch_statistics)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Upsample `x` and merge it with `skip`."""
        return self.block(torch.cat([self.up(x), skip], dim=1))


class Decoder(nn.Module):
    """G: from the encoder's levels to logits at full resolution.

    Args:
        features: channels of the input levels, finest first.
        out_channels: channels of the logits.
        batch_statistics: see `ConvBlock`.

    Shape:
        list of (B, features[i], H/2^i, W/2^i, D/2^i) → (B, out_channels, H, W, D).
    """

    def __init__(
        self, features: Sequence[int] = FEATURES, out_channels: int = 1, batch_statistics: bool = False
    ) -> None:
        super().__init__()
        coarse_to_fine = list(features)[::-1]
        pairs = itertools.pairwise(coarse_to_fine)
        self.levels = nn.ModuleList([UpBlock(coarse, fine, batch_statistics) for coarse, fine in pairs])
        self.head = nn.Conv3d(features[0], out_channels, kernel_size=1)

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits."""
        x = levels[-1]
        for depth, level in enumerate(self.levels):
            x = level(x, levels[len(levels) - 2 - depth])
        return self.head(x)


class UNet(nn.Module):
    """Encoder and decoder in one: 19.07 M parameters at the default width.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        features: output channels of each level, finest first.
        batch_statistics: see `ConvBlock`.

    Shape:
        (B, in_channels, H, W, D) → (B, out_channels, H, W, D), sides divisible by 2^(levels − 1).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = FEATURES,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, batch_statistics)
        self.decoder = Decoder(features, out_channels, batch_statistics)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.decoder(self.encoder(image))
