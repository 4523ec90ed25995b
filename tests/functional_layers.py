# SPDX-License-Identifier: Apache-2.0
"""Layers as functions of a state dict, written apart from the networks that the tests compare with them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, pad


def randomize_statistics(network: nn.Module) -> nn.Module:
    """Give batch norms weights and running statistics that change their input, and return the network in evaluation."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def normalize(state: Mapping[str, Tensor], name: str, x: Tensor, eps: float) -> Tensor:
    """Batch normalization by running statistics."""
    mean, variance, weight, bias = (
        state[f"{name}.{last}"][:, None, None, None] for last in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


def tensorflow_pad(x: Tensor, kernels: tuple[int, int, int], strides: tuple[int, int, int]) -> Tensor:
    """Zeros of TensorFlow's "SAME", by the formula of its documentation."""
    zeros: list[int] = []
    for side, kernel, stride in zip(x.shape[2:], kernels, strides, strict=True):
        along = max(kernel - stride, 0) if side % stride == 0 else max(kernel - side % stride, 0)
        zeros = [along // 2, along - along // 2, *zeros]
    return pad(x, zeros)


def convolve(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """A convolution without bias, padded as in TensorFlow."""
    return conv3d(tensorflow_pad(x, weight.shape[2:], (stride,) * 3), weight, stride=stride)
