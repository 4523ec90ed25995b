# SPDX-License-Identifier: Apache-2.0
"""Weights of a whole network, loaded strictly: every tensor fits, or one line says why not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """Read a plain state dict; nothing in the file is executed (`weights_only=True`).

    Args:
        file: written by `torch.save(network.state_dict(), file)`, such as `models/model.pt`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a plain state dict.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"pretrained_weights: no file {file}: train first, or give another path")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a truncated or foreign file fails in many ways
        raise ValueError(
            f"pretrained_weights: {file} is unreadable ({type(error).__name__}): give a model.pt"
        ) from error
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = f"a mapping of {list(state)[:4]}" if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(f"pretrained_weights: {file} holds {found}, expected a plain state dict: give a model.pt")
    return dict(state)


def check_weights(network: nn.Module, file: str | Path) -> dict[str, Tensor]:
    """Read weights and check that they are the network's, name by name and shape by shape.

    Args:
        network: what they are for; left as it is.
        file: see `read_weights`.

    Raises:
        FileNotFoundError, ValueError: as `read_weights`; ValueError also when names or shapes differ. Each is one line.
    """
    state, own = read_weights(file), network.state_dict()
    if encoder_features(state) != encoder_features(own):
        raise ValueError(
            f"pretrained_weights: {file} has features {encoder_features(state)}, the network {encoder_features(own)}: "
            f'give --features "{encoder_features(state)}"'
        )
    for found, names in (("lacks", own.keys() - state.keys()), ("has unknown", state.keys() - own.keys())):
        if names:
            parts = sorted({name.split(".")[0] for name in names})
            raise ValueError(
                f"pretrained_weights: {file} {found} {len(names)} tensors of {parts}, first {min(names)}: "
                "give mial and scale_classifier as in its training"
            )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"pretrained_weights: {name} in {file} is {list(state[name].shape)}, the network expects "
                f"{list(tensor.shape)}: give features and modalities as in its training"
            )
    return state


def load_weights(network: nn.Module, file: str | Path) -> nn.Module:
    """Load weights strictly into the network and return it; it is left as it was when they do not fit.

    Raises:
        FileNotFoundError, ValueError: as `check_weights`.
    """
    network.load_state_dict(check_weights(network, file))
    return network


def encoder_features(state: Mapping[str, Tensor]) -> list[int]:
    """Return the width of each of the encoder's levels, as the names and shapes of its tensors tell it."""
    level = re.compile(r"encoder\.levels\.(\d+)\.conv2\.weight")
    widths = {int(match[1]): tensor.shape[0] for name, tensor in state.items() if (match := level.fullmatch(name))}
    return [widths[depth] for depth in sorted(widths)]
