# SPDX-License-Identifier: Apache-2.0
"""MONAI's networks whose convolutions have the widths of our encoder, so that they can take its weights."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import BasicUNet, UNet
from torch import nn


def basic_unet(features: Sequence[int], in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    """Return MONAI's `BasicUNet`, which pools as ours does, one convolution earlier; it has two convolutions more.

    Raises:
        ValueError: when `features` are not four: MONAI's network has five levels.
    """
    if len(features) != 4:
        raise ValueError(f"features: {list(features)}: BasicUNet takes an encoder of four levels")
    half = features[0] // 2
    widths = (half, *features, half)
    return BasicUNet(3, in_channels, out_channels, widths, act="relu", norm="batch")


def unet(features: Sequence[int], in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    """Return MONAI's `UNet`, with a convolution of stride 2 where ours pools."""
    channels = [width for level in features for width in (level // 2, level)]
    strides = [1 if place % 2 or place == 0 else 2 for place in range(len(channels) - 1)]
    return UNet(3, in_channels, out_channels, channels, strides, norm="batch", act="relu")


NETWORKS = {"basic_unet": basic_unet, "unet": unet}
