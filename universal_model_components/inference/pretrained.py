# SPDX-License-Identifier: Apache-2.0
"""The paper's network with its weights, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..method import models
from ..weights.conversion import encoder_features
from ..weights.loading import load_pretrained, trusted_weights
from ..weights.provenance import BATCH_STATISTICS, METHOD_OF_A_TASK


class UniversalModel(models.UniversalModel):
    """`method.models.UniversalModel`, which see for its arguments; it can also be made from weights."""

    @classmethod
    def from_pretrained(cls, source: str | Path, **settings: Any) -> UniversalModel:
        """Return the network that some weights belong to, with all of them, in evaluation mode.

        Width, channels, and which heads there are, are read from the tensors; the kind of normalization is in their
        provenance.

        Args:
            source: a file, the folder of a bundle or of models, or `owner/name` on the Hugging Face Hub, see
                `weights.hub.find_weights`.
            settings: further arguments of the class, such as outputs="all".

        Raises:
            FileNotFoundError, ValueError: as `weights.load_pretrained`; ValueError also for weights of a target task.
        """
        found, provenance = trusted_weights(source)
        stated = provenance or {}
        if stated.get("method") == METHOD_OF_A_TASK:
            raise ValueError(
                f"pretrained_weights: {found.name} are weights of a target task, expected a pre-training's: use the "
                "task's bundle, or encoder(weights=…)"
            )
        batch_statistics = stated.get("normalization") == BATCH_STATISTICS
        made = cls(**{"batch_statistics": batch_statistics, **_arguments(found.state, found.name), **settings})
        load_pretrained(made, found.name, new_heads=())
        return made.eval()


def _arguments(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Read the network's arguments from the shapes of its tensors."""
    features = encoder_features(state)
    first, modality, scale = (
        state.get(f"{layer}.weight")
        for layer in ("encoder.levels.0.conv1", "discriminator.classifier.output", "scale_classifier.output")
    )
    if not features or first is None:
        raise ValueError(f"pretrained_weights: {name} has no encoder of this network: give a pre-training's model.pt")
    arguments = {"in_channels": first.shape[1], "features": features}
    arguments |= {"mial": modality is not None, "scale_classifier": scale is not None}
    arguments |= {} if modality is None else {"num_modalities": len(modality)}
    return arguments | ({} if scale is None else {"num_scales": len(scale)})
