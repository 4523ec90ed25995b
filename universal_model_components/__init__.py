# SPDX-License-Identifier: Apache-2.0
"""Universal Model for 3D Medical Image Analysis, as components that MONAI bundles name in JSON.

A scan becomes cubes (`resampling`, `cubes`), cubes are corrupted on the device (`corruptions`, `random_corruptions`),
and one network (`unet`, `heads`, `models`) learns to restore them, to tell their scale and to hide their modality
(`losses`, `engines`, `handlers`). The configs in `bundles/` put these together; nothing happens at import.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .unet import Encoder

__version__ = "0.1.0"


def encoder(weights: str | Path | None = None, in_channels: int = 1, features: Sequence[int] | None = None) -> Encoder:
    """Return the encoder alone, for a model of one's own: called with images it returns its levels, finest first.

    Args:
        weights: file of `weights.load_pretrained`, which sets the width and the kind of normalisation; None starts from
            scratch.
        in_channels: channels of the image; weights of one channel serve any number.
        features: width of each level; by default that of the weights, or 64, 128, 256, 512.

    Shape:
        of the returned module: (B, in_channels, H, W, D) → list of (B, features[i], H/2^i, W/2^i, D/2^i), sides
        divisible by 2^(levels − 1).

    Raises:
        FileNotFoundError, ValueError: as `weights.load_pretrained`.
    """
    from torch import nn

    from .conversion import encoder_features
    from .passport import BATCH_STATISTICS
    from .unet import FEATURES, Encoder
    from .weights import load_pretrained, trusted_weights

    found, passport = (None, None) if weights is None else trusted_weights(weights)
    if features is None:
        features = FEATURES if found is None else encoder_features(found.state) or FEATURES
    made = Encoder(in_channels, features, (passport or {}).get("normalization") == BATCH_STATISTICS)
    load_pretrained(nn.ModuleDict({"encoder": made}), weights)
    return made
