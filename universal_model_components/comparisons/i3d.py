# SPDX-License-Identifier: Apache-2.0
"""I3D: GoogLeNet inflated to three dimensions (Carreira and Zisserman 2017), the paper's first comparison (IV-C.1).

Layers have the names of the public PyTorch checkpoints (`Conv3d_1a_7x7.conv3d.weight`, `Mixed_3b.b1a.bn.bias`). The
first spatial axis is a video's time: two of the five halvings leave it alone. `I3DSegmentation` and
`I3DClassification` take a scan's third axis, across its slices, for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import pad

from ..method.heads import PooledClassifier
from .decoder import SkipDecoder
from .inputs import check_sides, repeat_channel, same_padding

WIDTH = 64  # channels of the stem
FEATURES = (64, 192, 480, 832, 1024)  # channels of the levels, finest first
STRIDES = ((2, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))  # of each level to the one before it


class Unit3D(nn.Module):
    """A convolution without bias, padded as TensorFlow's "SAME", with batch normalization and ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel.
        stride: of the convolution.

    Shape:
        (B, in_channels, T, H, W) → (B, out_channels, ⌈T / stride⌉, ⌈H / stride⌉, ⌈W / stride⌉).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply all three."""
        x = pad(x, same_padding(list(x.shape[2:]), self.kernel, self.stride))
        return torch.relu(self.bn(self.conv3d(x)))


class Mixed(nn.Module):
    """Four branches, concatenated: 1³; 1³ then 3³; 1³ then 3³; max-pooling 3³ then 1³.

    Args:
        in_channels: channels of the input.
        widths: channels of b0, b1a, b1b, b2a, b2b, b3b; the output has those of b0, b1b, b2b and b3b together.

    Shape:
        (B, in_channels, T, H, W) → (B, out_channels, T, H, W).
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = widths
        self.b0 = Unit3D(in_channels, b0)
        self.b1a, self.b1b = Unit3D(in_channels, b1a), Unit3D(b1a, b1b, 3)
        self.b2a, self.b2b = Unit3D(in_channels, b2a), Unit3D(b2a, b2b, 3)
        self.b3a, self.b3b = nn.MaxPool3d(3, stride=1, padding=1), Unit3D(in_channels, b3b)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the branches' outputs as one."""
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class I3DEncoder(nn.Module):
    """I3D without its classifier: 12,287,264 parameters with three input channels.

    The pools are TensorFlow's "SAME" too: with the even sides that are asked for, a last window that reaches one voxel
    beyond the border (`ceil_mode`).

    Args:
        in_channels: channels of the stem: 3 for the public RGB weights, 2 for those of optical flow. An image of one
            channel is repeated.
        width: channels of the stem, a multiple of 4; all others are scaled with it. 64 is I3D.

    Shape:
        (B, 1 or in_channels, T, H, W) → list of (B, 64, T/2, H/2, W/2), (B, 192, T/2, H/4, W/4),
        (B, 480, T/2, H/8, W/8), (B, 832, T/4, H/16, W/16) and (B, 1024, T/8, H/32, W/32).

    Raises:
        ValueError: when `width` is no multiple of 4, or T is not divisible by 8, or H or W is not by 32.
    """

    def __init__(self, in_channels: int = 3, width: int = WIDTH) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = scaled(FEATURES, width)
        stem, second, *_ = self.features

        def mixed(channels: int, *widths: int) -> Mixed:
            return Mixed(scaled([channels], width)[0], scaled(widths, width))

        self.Conv3d_1a_7x7 = Unit3D(in_channels, stem, 7, stride=2)
        self.Conv3d_2b_1x1 = Unit3D(stem, stem)
        self.Conv3d_2c_3x3 = Unit3D(stem, second, 3)
        self.Mixed_3b = mixed(192, 64, 96, 128, 16, 32, 32)
        self.Mixed_3c = mixed(256, 128, 128, 192, 32, 96, 64)
        self.Mixed_4b = mixed(480, 192, 96, 208, 16, 48, 64)
        self.Mixed_4c = mixed(512, 160, 112, 224, 24, 64, 64)
        self.Mixed_4d = mixed(512, 128, 128, 256, 24, 64, 64)
        self.Mixed_4e = mixed(512, 112, 144, 288, 32, 64, 64)
        self.Mixed_4f = mixed(528, 256, 160, 320, 32, 128, 128)
        self.Mixed_5b = mixed(832, 256, 160, 320, 32, 128, 128)
        self.Mixed_5c = mixed(832, 384, 192, 384, 48, 128, 128)
        self.pool_frames = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), ceil_mode=True)
        self.pool_4 = nn.MaxPool3d(3, stride=2, ceil_mode=True)
        self.pool_5 = nn.MaxPool3d(2)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the last features of each resolution, finest first."""
        check_sides(image, [8, 32, 32])
        level_1 = self.Conv3d_1a_7x7(repeat_channel(image, self.in_channels))
        level_2 = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(self.pool_frames(level_1)))
        level_3 = self.Mixed_3c(self.Mixed_3b(self.pool_frames(level_2)))
        x = self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(self.pool_4(level_3))))
        level_4 = self.Mixed_4f(self.Mixed_4e(x))
        level_5 = self.Mixed_5c(self.Mixed_5b(self.pool_5(level_4)))
        return [level_1, level_2, level_3, level_4, level_5]


def scaled(channels: Sequence[int], width: int) -> list[int]:
    """Scale I3D's channels to a stem of `width`; outputs of blocks are multiples of 16, and so stay in proportion.

    Raises:
        ValueError: when `width` is no positive multiple of 4.
    """
    if width < 4 or width % 4:
        raise ValueError(f"width must be a positive multiple of 4, got {width}")
    return [number * width // WIDTH for number in channels]


class I3DSegmentation(nn.Module):
    """I3D with a decoder with skip connections as in our U-Net (paper IV-C.1); its time is the image's third axis.

    Args:
        in_channels: see `I3DEncoder`.
        out_channels: channels of the logits.
        width: see `I3DEncoder`.

    Shape:
        image (B, 1 or in_channels, H, W, D) → logits (B, out_channels, H, W, D).
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 1, width: int = WIDTH) -> None:
        super().__init__()
        self.encoder = I3DEncoder(in_channels, width)
        self.decoder = SkipDecoder(self.encoder.features, STRIDES, out_channels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits = self.decoder(self.encoder(image.permute(0, 1, 4, 2, 3)))  # (B, out_channels, D, H, W)
        return logits.permute(0, 1, 3, 4, 2)


class I3DClassification(nn.Module):
    """I3D with global average pooling and two fully connected layers; its time is the image's third axis.

    Args:
        in_channels: see `I3DEncoder`.
        num_classes: number of logits.
        width: see `I3DEncoder`.
        hidden_channels: units between the two fully connected layers.

    Shape:
        image (B, 1 or in_channels, H, W, D) → logits (B, num_classes).
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 2, width: int = WIDTH, hidden_channels: int = 1024
    ) -> None:
        super().__init__()
        self.encoder = I3DEncoder(in_channels, width)
        self.classifier = PooledClassifier(self.encoder.features[-1], hidden_channels, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.classifier(self.encoder(image.permute(0, 1, 4, 2, 3))[-1])
