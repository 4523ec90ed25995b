# SPDX-License-Identifier: Apache-2.0
"""Med3D: a 3D ResNet-101 pre-trained on 3DSeg-8 (Chen et al. 2019), the paper's third comparison (IV-C.1).

It is MONAI's `ResNet`, whose layer names are those of the public checkpoints. Med3D keeps the resolution in its last
two layers and dilates their convolutions instead; MONAI strides. The weights have the same shapes in both, but are
another function: `dilated` is Med3D's, and the default.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import ResNet
from torch import nn

from ..method.heads import PooledClassifier
from .decoder import SkipDecoder
from .inputs import check_sides, repeat_channel

WIDTH = 64  # channels of the stem
LAYERS = (3, 4, 23, 3)  # blocks of each layer: ResNet-101
EXPANSION = 4  # of a bottleneck block: channels of its output to those within
DILATIONS = {"layer3": 2, "layer4": 4}


def dilate(layer: nn.Sequential, dilation: int) -> None:
    """Take the stride out of a layer of MONAI's ResNet, and dilate its 3³ convolutions instead, in place.

    Args:
        layer: of bottleneck blocks.
        dilation: distance of a kernel's taps, in voxels.
    """
    for module in layer.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation, dilation, dilation)


class Med3DEncoder(nn.Module):
    """ResNet-101 without its classifier: 85,201,216 parameters.

    Args:
        in_channels: channels of the stem; an image of one channel is repeated.
        width: channels of the stem; all others are scaled with it. 64 is Med3D.
        layers: blocks of each of the four layers.
        dilated: dilate the last two layers as Med3D does; False strides, as MONAI's ResNet.

    Shape:
        (B, 1 or in_channels, H, W, D) → list of (B, 64, H/2, W/2, D/2), (B, 256, H/4, W/4, D/4),
        (B, 512, H/8, W/8, D/8), (B, 1024, …) and (B, 2048, …): the last two at 1/8 too, not dilated at 1/16 and 1/32.

    Raises:
        ValueError: when a side is not divisible by 8, or, not dilated, by 32.
    """

    def __init__(
        self, in_channels: int = 1, width: int = WIDTH, layers: Sequence[int] = LAYERS, dilated: bool = True
    ) -> None:
        super().__init__()
        planes = [width * factor for factor in (1, 2, 4, 8)]
        resnet = ResNet(
            "bottleneck",
            list(layers),
            planes,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        self.in_channels = in_channels
        self.features = [width, *(EXPANSION * channels for channels in planes)]
        scales = [2, 2, 2, 1, 1] if dilated else [2, 2, 2, 2, 2]
        self.strides = [[scale] * 3 for scale in scales]
        self.divisor = 8 if dilated else 32
        self.conv1, self.bn1, self.act, self.maxpool = resnet.conv1, resnet.bn1, resnet.act, resnet.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        if dilated:
            for name, dilation in DILATIONS.items():
                dilate(getattr(self, name), dilation)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the stem's and each layer's output."""
        check_sides(image, [self.divisor, self.divisor, self.divisor])
        stem = self.act(self.bn1(self.conv1(repeat_channel(image, self.in_channels))))
        level_1 = self.layer1(self.maxpool(stem))
        level_2 = self.layer2(level_1)
        level_3 = self.layer3(level_2)
        return [stem, level_1, level_2, level_3, self.layer4(level_3)]


class Med3DSegmentation(nn.Module):
    """Med3D's encoder with a decoder with skip connections as in our U-Net.

    Args:
        in_channels: see `Med3DEncoder`.
        out_channels: channels of the logits.
        width: see `Med3DEncoder`.
        layers: see `Med3DEncoder`.
        dilated: see `Med3DEncoder`.

    Shape:
        image (B, 1 or in_channels, H, W, D) → logits (B, out_channels, H, W, D).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = WIDTH,
        layers: Sequence[int] = LAYERS,
        dilated: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = Med3DEncoder(in_channels, width, layers, dilated)
        self.decoder = SkipDecoder(self.encoder.features, self.encoder.strides, out_channels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.decoder(self.encoder(image))


class Med3DClassification(nn.Module):
    """Med3D's encoder with global average pooling and two fully connected layers.

    Args:
        in_channels: see `Med3DEncoder`.
        num_classes: number of logits.
        width: see `Med3DEncoder`.
        layers: see `Med3DEncoder`.
        dilated: see `Med3DEncoder`.
        hidden_channels: units between the two fully connected layers.

    Shape:
        image (B, 1 or in_channels, H, W, D) → logits (B, num_classes).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        width: int = WIDTH,
        layers: Sequence[int] = LAYERS,
        dilated: bool = True,
        hidden_channels: int = 1024,
    ) -> None:
        super().__init__()
        self.encoder = Med3DEncoder(in_channels, width, layers, dilated)
        self.classifier = PooledClassifier(self.encoder.features[-1], hidden_channels, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.classifier(self.encoder(image)[-1])
