# SPDX-License-Identifier: Apache-2.0
"""Renaming layers: from checkpoints of the original implementations, and to encoders of other networks.

The original checkpoints (`Genesis_Chest_CT.pt`, the paper's own release) name each layer by the width of its level,
`down_tr64` … `out_tr`. The layers, and the order in which a skip connection is concatenated, are those of `unet.UNet`;
their normalization uses the batch's own statistics in evaluation too (`batch_statistics`), and a sigmoid ends them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from .coverage import fit

DOWN = {"64": 0, "128": 1, "256": 2, "512": 3}  # the names of the levels, independent of their width in the file
UP = {"256": 0, "128": 1, "64": 2}
LAYER = re.compile(r"(down|up)_tr(\d+)\.ops\.([01])\.(conv|bn)1\.(\w+)")
UPSAMPLING = re.compile(r"up_tr(\d+)\.up_conv\.(weight|bias)")
HEAD = re.compile(r"out_tr\.final_conv\.(weight|bias)")
LEVEL = re.compile(r"encoder\.levels\.(\d+)\.conv2\.weight")


def encoder_features(state: Mapping[str, Tensor]) -> list[int]:
    """Infer the width of each encoder level from the names and shapes of its tensors."""
    widths = {int(match[1]): tensor.shape[0] for name, tensor in state.items() if (match := LEVEL.fullmatch(name))}
    return [widths[depth] for depth in sorted(widths)]


def is_original(state: Mapping[str, Tensor]) -> bool:
    """Return whether these are the names of the original checkpoints."""
    return any(name.startswith("down_tr64.ops.") for name in state)


def from_original(state: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the tensors of an original checkpoint to our names.

    Args:
        state: tensors by their original names, without `module.`.
        source: name of the file, for messages.

    Returns:
        Encoder and decoder under our names, and the names of the tensors left out, such as a discriminator's.

    Raises:
        ValueError: when a layer of encoder or decoder is unknown, such as a learned activation: the network would
            differ.
    """
    converted, left_out = {}, []
    for name, tensor in state.items():
        ours = _our_name(name)
        if ours is not None:
            converted[ours] = tensor
        elif re.match(r"(down|up|out)_tr", name):
            raise ValueError(f"{source}: {name} is not a layer of the original 3D U-Net: it cannot be converted")
        else:
            left_out.append(name)
    return converted, left_out


def _our_name(name: str) -> str | None:
    if match := LAYER.fullmatch(name):
        way, width, place, kind, last = match.groups()
        block = f"encoder.levels.{DOWN.get(width)}" if way == "down" else f"decoder.levels.{UP.get(width)}.block"
        layer = {"conv": "conv", "bn": "norm"}[kind]
        return None if "None" in block else f"{block}.{layer}{int(place) + 1}.{last}"
    if (match := UPSAMPLING.fullmatch(name)) and match[1] in UP:
        return f"decoder.levels.{UP[match[1]]}.up.{match[2]}"
    if match := HEAD.fullmatch(name):
        return f"decoder.head.{match[1]}"
    return None


def as_encoder(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a backbone's tensors, which a public checkpoint names without their part, the names of a network's encoder.

    Args:
        state: by the checkpoint's names, such as "layer1.0.conv1.weight".
        own: the network's, such as "encoder.layer1.0.conv1.weight".

    Returns:
        The checkpoint's tensors; those that the encoder lacks, such as a classifier's, keep their names. Where any name
        is the network's already, none is changed.
    """
    if not own.keys().isdisjoint(state):
        return dict(state)
    return {f"encoder.{name}" if f"encoder.{name}" in own else name: tensor for name, tensor in state.items()}


def encoder_for(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the encoder's tensors to another network's layers, in the order of both, where shapes allow it.

    Each of our convolutions, from the first to the last, is assigned to the network's next convolution of its shape,
    and our normalization to the one that follows there. What the two networks do between convolutions is not
    compared: the result is an initialization, not the same function.

    Args:
        network: such as MONAI's `BasicUNet` or `UNet`, its encoder's layers registered before its decoder's.
        state: with our names; only `encoder.` is read.
    """
    theirs, place = list(_layers(network)), 0
    named: dict[str, Tensor] = {}
    for depth in range(len(encoder_features(state))):
        for number in (1, 2):
            ours = f"encoder.levels.{depth}"
            weight = state[f"{ours}.conv{number}.weight"]
            fits = (i for i in range(place, len(theirs)) if fit(weight, theirs[i][1].weight.shape) is not None)
            found = next(fits, None)
            if found is None:
                continue
            place = found + 1
            conv, _, norm = theirs[found]
            for layer, target in ((f"{ours}.conv{number}", conv), (f"{ours}.norm{number}", norm)):
                tensors = {n: t for n, t in state.items() if n.startswith(f"{layer}.")}
                named |= {f"{target}{n.removeprefix(layer)}": t for n, t in tensors.items() if target is not None}
    return named


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Conv3d, str | None]]:
    """Yield each convolution's name and module, and the name of the normalization that follows it."""
    named = [(n, m) for n, m in network.named_modules() if isinstance(m, (nn.Conv3d, nn.modules.batchnorm._NormBase))]
    for place, (name, module) in enumerate(named):
        if isinstance(module, nn.Conv3d):
            after = named[place + 1] if place + 1 < len(named) else None
            yield name, module, None if after is None or isinstance(after[1], nn.Conv3d) else after[0]
