# SPDX-License-Identifier: Apache-2.0
"""3D Rotation (Taleb et al. 2020): which of ten rotations was applied to a cube?

The classes are the identity, and 90, 180 and 270° about each of the three axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..method.corruptions import check_cubes, move
from ..method.counter_rng import uniform
from ..method.heads import PooledClassifier
from ..method.unet import FEATURES, Encoder
from .task import PretextTask

PLANES = ((3, 4), (4, 2), (2, 3))  # dimensions of a batch that a rotation about the first, second, third axis turns
TURNS = 3  # by 90, 180 and 270°
CLASSES = 1 + len(PLANES) * TURNS

_ROTATION = 5  # stream of random numbers of one seed; the corruptions' are 0 to 4


def draw_rotations(seeds: Tensor) -> Tensor:
    """Draw each cube's class, all ten equally often: seeds (B,) int64 → (B,) int64."""
    return (uniform(seeds, _ROTATION, 1)[:, 0] * CLASSES).long()


def rotate(cubes: Tensor, labels: Tensor) -> Tensor:
    """Rotate each cube by its class: 0 is the identity, 1 + 3 · axis + n is n + 1 quarter turns about an axis.

    Args:
        cubes: sub-volumes with equal sides; never changed.
        labels: classes, on the CPU, so that a CUDA device need not be waited for.

    Shape:
        cubes (B, C, S, S, S); labels (B,) → (B, C, S, S, S).

    Raises:
        ValueError: when cubes are not floating-point (B, C, H, W, D), or their sides are not equal.
    """
    check_cubes(cubes)
    if len(set(cubes.shape[2:])) > 1:
        sides = [int(side) for side in cubes.shape[2:]]
        raise ValueError(
            f"cubes: rotation needs equal sides, found {sides}: give prepare.json a patch_size such as [64,64,64]"
        )
    rotated = cubes.clone()
    for label in range(1, CLASSES):
        chosen = (labels == label).nonzero()[:, 0]
        if len(chosen):
            axis, turns = divmod(label - 1, TURNS)
            index = move(chosen, cubes.device)
            rotated.index_copy_(0, index, torch.rot90(cubes.index_select(0, index), turns + 1, PLANES[axis]))
    return rotated


class RotationTask(PretextTask):
    """The task on a batch: a cube's rotation is a function of its seed alone, the same in any batch and on any device.

    Example:
        >>> image, targets = RotationTask().prepare_batch({"image": torch.rand(6, 1, 32, 32, 32)})
    """

    name, num_classes = "rotation", CLASSES

    def apply(self, cubes: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Rotate cubes with equal sides; ValueError as `rotate`."""
        labels = draw_rotations(seeds)
        return rotate(cubes, labels), labels


class RotationModel(nn.Module):
    """E of the paper, global average pooling and two fully connected layers: ten classes.

    Args:
        in_channels: channels of a cube.
        features: output channels of the encoder's levels, finest first.
        hidden_channels: units between the two fully connected layers.
        batch_statistics: of the encoder, see `unet.ConvBlock`.

    Shape:
        image (B, in_channels, H, W, D), sides divisible by 2^(levels − 1) → {"rotation": logits (B, 10)}.
    """

    def __init__(
        self,
        in_channels: int = 1,
        features: Sequence[int] = FEATURES,
        hidden_channels: int = 1024,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, batch_statistics)
        self.classifier = PooledClassifier(features[-1], hidden_channels, CLASSES)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits."""
        return {"rotation": self.classifier(self.encoder(image)[-1])}
