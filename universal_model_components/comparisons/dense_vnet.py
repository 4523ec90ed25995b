# SPDX-License-Identifier: Apache-2.0
"""Dense V-Network (Gibson et al. 2018), the default network of NiftyNet, the paper's second comparison (IV-C.1).

Three stacks of densely connected convolutions at 1/2, 1/4 and 1/8 of the image's sides; all three, and the image, are
brought to half size and read by one convolution. The spatial prior of the original is off. Convolutions are padded as
TensorFlow's "SAME", and have no bias but the last.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from ..method.heads import PooledClassifier
from .inputs import check_sides, repeat_channel, same_padding

WIDTH = 24  # channels of the first convolution
LAYERS = (5, 10, 10)  # of each stack


class ConvNorm(nn.Module):
    """A convolution without bias, padded as TensorFlow's "SAME", then batch normalization and, by default, ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel.
        stride: of the convolution.
        activation: whether a ReLU follows.

    Shape:
        (B, in_channels, H, W, D) → (B, out_channels, ⌈H / stride⌉, ⌈W / stride⌉, ⌈D / stride⌉).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, activation: bool = True
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.norm = nn.BatchNorm3d(out_channels)
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply all three."""
        x = pad(x, same_padding(list(x.shape[2:]), self.kernel, self.stride))
        return self.activation(self.norm(self.conv(x)))


class DenseStack(nn.Module):
    """Convolutions that each read the stack's input and all outputs before theirs.

    Args:
        in_channels: channels of the input.
        layers: number of convolutions.
        growth: channels of each convolution.
        dropout: probability of each value to be dropped after each convolution but the last.

    Shape:
        (B, in_channels, H, W, D) → (B, in_channels + layers · growth, H, W, D).
    """

    def __init__(self, in_channels: int, layers: int, growth: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.out_channels = in_channels + layers * growth
        self.layers = nn.ModuleList([ConvNorm(in_channels + place * growth, growth) for place in range(layers)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input and all outputs, concatenated."""
        for place, layer in enumerate(self.layers):
            new = layer(x)
            x = torch.cat([x, new if place == len(self.layers) - 1 else self.dropout(new)], dim=1)
        return x


class DenseVNetEncoder(nn.Module):
    """The contracting half: the image at half size, and the three stacks.

    Args:
        in_channels: channels of the image.
        width: channels of the first convolution, a multiple of 6; all others are scaled with it. 24 is the original.
        dropout: see `DenseStack`.

    Shape:
        (B, in_channels, H, W, D) → list of (B, in_channels, H/2, W/2, D/2), (B, 45, H/2, W/2, D/2),
        (B, 104, H/4, W/4, D/4) and (B, 184, H/8, W/8, D/8).

    Raises:
        ValueError: when `width` is no multiple of 6, or a side is not divisible by 8.
    """

    def __init__(self, in_channels: int = 1, width: int = WIDTH, dropout: float = 0.5) -> None:
        super().__init__()
        if width < 6 or width % 6:
            raise ValueError(f"width must be a positive multiple of 6, got {width}")
        self.in_channels = in_channels
        # with even sides, TensorFlow's "SAME": windows beyond the border count what is within
        self.pool = nn.AvgPool3d(3, stride=2, ceil_mode=True)
        self.pool_norm = nn.BatchNorm3d(in_channels)
        self.stem = ConvNorm(in_channels, width, kernel=5, stride=2, activation=False)
        self.stack_1 = DenseStack(in_channels + width, LAYERS[0], width // 6, dropout)
        self.down_1 = ConvNorm(self.stack_1.out_channels, width, stride=2)
        self.stack_2 = DenseStack(width, LAYERS[1], width // 3, dropout)
        self.down_2 = ConvNorm(self.stack_2.out_channels, width, stride=2)
        self.stack_3 = DenseStack(width, LAYERS[2], width * 2 // 3, dropout)
        self.features = [stack.out_channels for stack in (self.stack_1, self.stack_2, self.stack_3)]

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the image at half size, then the stacks, finest first."""
        check_sides(image, [8, 8, 8])
        image = repeat_channel(image, self.in_channels)
        small = self.pool_norm(self.pool(image))
        level_1 = self.stack_1(torch.cat([small, self.stem(image)], dim=1))
        level_2 = self.stack_2(self.down_1(level_1))
        level_3 = self.stack_3(self.down_2(level_2))
        return [small, level_1, level_2, level_3]


class DenseVNetDecoder(nn.Module):
    """The expanding half: a convolution for each stack, everything resized to half size, one convolution, full size.

    Args:
        features: channels of the three stacks, finest first.
        in_channels: channels of the image.
        out_channels: channels of the logits.
        width: see `DenseVNetEncoder`.

    Shape:
        the encoder's list → (B, out_channels, H, W, D).
    """

    def __init__(self, features: list[int], in_channels: int = 1, out_channels: int = 1, width: int = WIDTH) -> None:
        super().__init__()
        widths = (width // 2, width, width)
        self.skips = nn.ModuleList([ConvNorm(i, o) for i, o in zip(features, widths, strict=True)])
        self.head = nn.Conv3d(sum(widths) + in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits."""
        small = levels[0]
        resized: list[torch.Tensor] = []
        for place, skip in enumerate(self.skips):
            x = skip(levels[place + 1])
            resized.append(interpolate(x, size=small.shape[2:], mode="trilinear", align_corners=False))
        resized.append(small)
        logits = self.head(torch.cat(resized, dim=1))
        return interpolate(logits, scale_factor=2.0, mode="trilinear", align_corners=False)


class DenseVNetSegmentation(nn.Module):
    """The Dense V-Network: 866,978 parameters with one channel and two classes.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        width: see `DenseVNetEncoder`.
        dropout: see `DenseStack`.

    Shape:
        image (B, in_channels, H, W, D) → logits (B, out_channels, H, W, D), sides divisible by 8.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, width: int = WIDTH, dropout: float = 0.5) -> None:
        super().__init__()
        self.encoder = DenseVNetEncoder(in_channels, width, dropout)
        self.decoder = DenseVNetDecoder(self.encoder.features, in_channels, out_channels, width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.decoder(self.encoder(image))


class DenseVNetClassification(nn.Module):
    """The three stacks, each pooled over the image, and two fully connected layers.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        width: see `DenseVNetEncoder`.
        dropout: see `DenseStack`.
        hidden_channels: units between the two fully connected layers.

    Shape:
        image (B, in_channels, H, W, D) → logits (B, num_classes), sides divisible by 8.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        width: int = WIDTH,
        dropout: float = 0.5,
        hidden_channels: int = 1024,
    ) -> None:
        super().__init__()
        self.encoder = DenseVNetEncoder(in_channels, width, dropout)
        self.classifier = PooledClassifier(sum(self.encoder.features), hidden_channels, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        pooled = [level.mean(dim=[2, 3, 4], keepdim=True) for level in self.encoder(image)[1:]]
        return self.classifier(torch.cat(pooled, dim=1))
