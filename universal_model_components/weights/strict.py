# SPDX-License-Identifier: Apache-2.0
"""Weights that must be a network's own, name by name, and of its task: those of evaluation and inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .conversion import encoder_features
from .coverage import STATISTICS, same_kind, unused_statistics
from .loading import read_plain, warn_of_differences
from .provenance import BATCH_STATISTICS, LAYERS, METHOD_OF_A_TASK, TASK, differences


def check_weights(network: nn.Module, file: str | Path, recipe: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Read weights and check that they are the network's, name by name and shape by shape.

    Args:
        network: the one they are for; unchanged.
        file: see `read_weights`.
        recipe: settings of this run, see `load_pretrained`; those of a target task name the "task".

    Returns:
        The tensors, without running statistics that the network has no use for.

    Raises:
        FileNotFoundError, ValueError: as `read_weights`; ValueError also when names or shapes differ, or the weights
            are of another task. Each is one line.
    """
    (state, provenance), own = read_plain(file), network.state_dict()
    if (provenance or {}).get("normalization") == BATCH_STATISTICS:  # an original checkpoint keeps running ones too
        state = {name: tensor for name, tensor in state.items() if not unused_statistics(name, own)}
    if recipe is not None:
        _check_method(file, provenance or {}, recipe)
    unet = bool(encoder_features(own))
    if unet and encoder_features(state) != encoder_features(own):
        raise ValueError(
            f"pretrained_weights: {file} has features {encoder_features(state)}, the network {encoder_features(own)}: "
            f'give --features "{encoder_features(state)}"'
        )
    if others := differences(provenance or {}, recipe or {}, (TASK, *LAYERS)):
        raise ValueError(f"pretrained_weights: {file} was trained with {'; '.join(others)}: give the same")
    for found, names in (("lacks", own.keys() - state.keys()), ("has unknown", state.keys() - own.keys())):
        if names:
            parts = sorted({name.split(".")[0] for name in names})
            hint = "mial and scale_classifier as in its training" if unet else f"weights of {type(network).__name__}"
            if all(name.rpartition(".")[2] in STATISTICS for name in names):
                hint = f"batch_statistics {str(found == 'lacks').lower()}, as in its training"
            raise ValueError(
                f"pretrained_weights: {file} {found} {len(names)} tensors of {parts}, first {min(names)}: give {hint}"
            )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"pretrained_weights: {name} in {file} is {list(state[name].shape)}, the network expects "
                f"{list(tensor.shape)}: give {'features and modalities' if unet else 'the width'} as in its training"
            )
        if not same_kind(state[name], tensor):
            raise ValueError(
                f"pretrained_weights: {name} in {file} is {state[name].dtype}, the network expects {tensor.dtype}: "
                "give weights as they were trained"
            )
    if recipe is not None:
        warn_of_differences(network, str(file), provenance, recipe)
    return state


def _check_method(file: str | Path, provenance: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """Refuse weights of a pre-training for a target task, and the other way round, where they say what they are."""
    method = provenance.get("method")
    if method is not None and (method == METHOD_OF_A_TASK) != (TASK in recipe):
        expected = f"those of the task {recipe[TASK]}: train it first" if TASK in recipe else "a pre-training's"
        raise ValueError(f"pretrained_weights: {file} are weights of {method!r}, expected {expected}")


def load_weights(network: nn.Module, file: str | Path, recipe: Mapping[str, Any] | None = None) -> nn.Module:
    """Load weights strictly into the network and return it; it is unchanged when they do not fit.

    Raises:
        FileNotFoundError, ValueError: as `check_weights`.
    """
    network.load_state_dict(check_weights(network, file, recipe))
    return network
