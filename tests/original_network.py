# SPDX-License-Identifier: Apache-2.0
"""The original 3D U-Net by its list of layers: names, shapes, and what each does; written out, no class of ours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def original_state(widths=(64, 128, 256, 512), seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the original's names; the names keep 64 … 512 whatever the widths are."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = widths
    state: dict[str, Tensor] = {}

    def convolution(name: str, out: int, into: int, side: int, transposed: bool = False) -> None:
        shape = (into, out) if transposed else (out, into)
        scale = (into * side**3) ** -0.5
        state[f"{name}.weight"] = torch.randn(*shape, side, side, side, generator=generator) * scale
        state[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1

    def normalization(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + 0.3 * torch.randn(width, generator=generator)
        state[f"{name}.bias"] = 0.2 * torch.randn(width, generator=generator)
        state[f"{name}.running_mean"] = torch.randn(width, generator=generator)
        state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def operations(name: str, into: int, hidden: int, out: int) -> None:
        for place, (i, o) in enumerate([(into, hidden), (hidden, out)]):
            convolution(f"{name}.ops.{place}.conv1", o, i, 3)
            normalization(f"{name}.ops.{place}.bn1", o)

    for name, into, out in (("64", 1, a), ("128", a, b), ("256", b, c), ("512", c, d)):
        operations(f"down_tr{name}", into, out // 2, out)
    for name, coarse, fine in (("256", d, c), ("128", c, b), ("64", b, a)):
        convolution(f"up_tr{name}.up_conv", coarse, coarse, 2, transposed=True)
        operations(f"up_tr{name}", coarse + fine, fine, fine)
    convolution("out_tr.final_conv", 1, a, 1)
    return state


def original_forward(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """The original's answer in evaluation: normalized by the batch's own statistics, a sigmoid at the end."""

    def operations(name: str, x: Tensor) -> Tensor:
        for place in (0, 1):
            layer = f"{name}.ops.{place}"
            x = functional.conv3d(x, state[f"{layer}.conv1.weight"], state[f"{layer}.conv1.bias"], padding=1)
            mean = x.mean(dim=(0, 2, 3, 4), keepdim=True)
            variance = ((x - mean) ** 2).mean(dim=(0, 2, 3, 4), keepdim=True)
            x = (x - mean) / torch.sqrt(variance + 1e-5)
            weight, bias = (state[f"{layer}.bn1.{n}"].reshape(1, -1, 1, 1, 1) for n in ("weight", "bias"))
            x = (x * weight + bias).clamp_min(0)
        return x

    def up(name: str, x: Tensor, skip: Tensor) -> Tensor:
        layer = f"{name}.up_conv"
        x = functional.conv_transpose3d(x, state[f"{layer}.weight"], state[f"{layer}.bias"], stride=2)
        return operations(name, torch.cat((x, skip), dim=1))

    skips = []
    x = image
    for name in ("down_tr64", "down_tr128", "down_tr256"):
        skips.append(operations(name, x))
        x = functional.max_pool3d(skips[-1], 2)
    x = operations("down_tr512", x)
    for name in ("up_tr256", "up_tr128", "up_tr64"):
        x = up(name, x, skips.pop())
    return torch.sigmoid(functional.conv3d(x, state["out_tr.final_conv.weight"], state["out_tr.final_conv.bias"]))
