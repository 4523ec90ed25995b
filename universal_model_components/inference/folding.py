# SPDX-License-Identifier: Apache-2.0
"""The U-Net with less arithmetic, for inference: consecutive linear layers are merged into one.

- A batch norm, in evaluation mode, is an affine map: it is folded into the convolution before it.
- Between a transposed convolution (2³, stride 2) and the 3³ convolution after it there is no activation: together they
  are one transposed convolution (4³, stride 2), with 8 multiply-adds for each voxel, input and output channel in place
  of 27. The skip connection gets a separate convolution, because a sum over concatenated channels is a sum of sums.
  At the default width this removes a third of the network's multiply-adds.

The results compute the same function up to rounding. They are copies; the network itself is left alone.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, conv_transpose3d
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..method.unet import ConvBlock, UpBlock


def fold_normalization(network: nn.Module) -> nn.Module:
    """Copy a network, in evaluation mode, with every `ConvBlock`'s batch norms folded into its convolutions.

    A norm that uses the batch's own statistics (`batch_statistics`) is not a fixed map and is kept.
    """
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    for block in folded.modules():
        if isinstance(block, ConvBlock):
            for conv, norm in (("conv1", "norm1"), ("conv2", "norm2")):
                if not getattr(block, norm).track_running_stats:
                    continue
                fused = fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm))
                setattr(block, conv, fused.requires_grad_(False))
                setattr(block, norm, nn.Identity())
    return folded


def merge_upsampling(network: nn.Module) -> nn.Module:
    """Copy a network, in evaluation mode, with every `UpBlock` replaced by a `MergedUpBlock`."""
    merged = copy.deepcopy(network).eval().requires_grad_(False)
    for part in list(merged.modules()):
        for name, block in list(part.named_children()):
            if isinstance(block, UpBlock):
                setattr(part, name, MergedUpBlock(block))
    return merged


class MergedUpBlock(nn.Module):
    """What an `UpBlock` computes, with its transposed convolution and the convolution after it in one.

    At the border of the cube, zero padding hides the bias of the transposed convolution from some of the second
    convolution's taps, so its contribution is a map, not a constant; it is computed once for each shape.

    Args:
        block: with its batch norms, or with them folded.

    Shape:
        (B, in_channels, H, W, D), (B, skip_channels, 2H, 2W, 2D) → (B, skip_channels, 2H, 2W, 2D).
    """

    kernel: Tensor  # (in, out, 4, 4, 4)
    skip_kernel: Tensor
    bias: Tensor
    bias_kernel: Tensor

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        conv, channels = block.block.conv1, block.up.out_channels
        from_up, from_skip = conv.weight[:, :channels], conv.weight[:, channels:]
        from_up, up_weight, up_bias = (torch.as_tensor(t).cpu() for t in (from_up, block.up.weight, block.up.bias))
        with torch.autocast("cpu", enabled=False):  # in full precision on any device, also without TF32
            # the two kernels convolved with each other; PyTorch convolutions are cross-correlations, so flip
            kernel = conv_transpose3d(up_weight, from_up.flip(2, 3, 4).transpose(0, 1))
            bias_kernel = torch.einsum("omijk,m->oijk", from_up, up_bias)[:, None]
        kernels = {"kernel": kernel, "skip_kernel": from_skip, "bias": conv.bias, "bias_kernel": bias_kernel}
        for name, tensor in kernels.items():
            self.register_buffer(name, torch.as_tensor(tensor).detach().clone().to(conv.weight.device))
        self.norm1, self.conv2, self.norm2 = block.block.norm1, block.block.conv2, block.block.norm2
        self.activation = block.block.activation
        self.bias_maps: dict[tuple, Tensor] = {}

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Upsample `x` and merge it with `skip`."""
        merged = conv3d(skip, self.skip_kernel, self.bias, padding=1)
        merged += conv_transpose3d(x, self.kernel, stride=2, padding=1)
        merged += self._bias_map(skip)
        merged = self.activation(self.norm1(merged))
        return self.activation(self.norm2(self.conv2(merged)))

    def _bias_map(self, skip: Tensor) -> Tensor:
        key = (*skip.shape[2:], skip.device, skip.dtype)
        if key not in self.bias_maps:
            bias = conv3d(skip.new_ones(1, 1, *skip.shape[2:]), self.bias_kernel, padding=1)
            last = skip.is_contiguous(memory_format=torch.channels_last_3d)
            self.bias_maps = {key: bias.contiguous(memory_format=torch.channels_last_3d) if last else bias}
        return self.bias_maps[key]
