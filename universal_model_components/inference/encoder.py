# SPDX-License-Identifier: Apache-2.0
"""The encoder alone, with pre-trained weights, for custom models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..method.unet import FEATURES, Encoder
from ..weights.conversion import encoder_features
from ..weights.loading import load_pretrained, trusted_weights
from ..weights.provenance import BATCH_STATISTICS


def encoder(weights: str | Path | None = None, in_channels: int = 1, features: Sequence[int] | None = None) -> Encoder:
    """Return the encoder alone, for custom models: called with images, it returns its levels, finest first.

    Args:
        weights: a file, the folder of a bundle or of models, or `owner/name` on the Hugging Face Hub, see
            `weights.hub.find_weights`; they set the width and the kind of normalization. None starts from scratch.
        in_channels: channels of the image; weights of one channel serve any number.
        features: width of each level; by default that of the weights, or 64, 128, 256, 512.

    Shape:
        of the returned module: (B, in_channels, H, W, D) → list of (B, features[i], H/2^i, W/2^i, D/2^i), sides
        divisible by 2^(levels − 1).

    Raises:
        FileNotFoundError, ValueError: as `weights.load_pretrained`.
    """

    found, provenance = (None, None) if weights is None else trusted_weights(weights)
    if features is None:
        features = FEATURES if found is None else encoder_features(found.state) or FEATURES
    made = Encoder(in_channels, features, (provenance or {}).get("normalization") == BATCH_STATISTICS)
    load_pretrained(nn.ModuleDict({"encoder": made}), None if found is None else found.name)
    return made
