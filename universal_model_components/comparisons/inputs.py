# SPDX-License-Identifier: Apache-2.0
"""What the networks do before their first convolution: check sides, repeat channels, pad as TensorFlow does."""

from __future__ import annotations

import torch


def check_sides(image: torch.Tensor, divisors: list[int]) -> None:
    """Check that each side of an image is divisible by what the network divides it by.

    Args:
        image: to check.
        divisors: one for each spatial axis.

    Shape:
        (B, C, H, W, D).

    Raises:
        ValueError: when a side is not; the message has the divisors and the shape. Not while the network is traced.
    """
    if not torch.jit.is_tracing():
        for axis, divisor in enumerate(divisors):
            if image.shape[axis + 2] % divisor != 0:
                raise ValueError(f"image sides must be divisible by {divisors}, got shape {list(image.shape)}")


def repeat_channel(image: torch.Tensor, channels: int) -> torch.Tensor:
    """Repeat a single channel as often as a stem has input channels (paper IV-C.1, I3D); others pass unchanged.

    Shape:
        (B, 1, H, W, D) → (B, channels, H, W, D).
    """
    return image.expand(-1, channels, -1, -1, -1) if image.shape[1] == 1 else image


def same_padding(shape: list[int], kernel: int, stride: int) -> list[int]:
    """Return the zeros that TensorFlow's "SAME" puts around an image, for `torch.nn.functional.pad`.

    The output has ⌈side / stride⌉ voxels; where the zeros are of an odd number, the additional one is behind.

    Args:
        shape: spatial sides.
        kernel: side of the kernel.
        stride: of the convolution.

    Returns:
        Zeros before and behind, for each axis, the last axis first.
    """
    padding: list[int] = []
    for axis in range(len(shape)):
        side = shape[len(shape) - 1 - axis]
        outputs = (side + stride - 1) // stride
        total = max((outputs - 1) * stride + kernel - side, 0)
        padding.append(total // 2)
        padding.append(total - total // 2)
    return padding
