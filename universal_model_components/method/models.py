# SPDX-License-Identifier: Apache-2.0
"""The networks that the bundles name in JSON, each a few lines of composition (paper Fig. 1, IV-B.2, IV-C.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .heads import ModalityDiscriminator, PooledClassifier, ScaleClassifier, reverse_gradient
from .unet import FEATURES, Decoder, Encoder, UNet

OUTPUTS = ("restoration", "all")


class UniversalModel(nn.Module):
    """E, G, D and S of the paper's Fig. 1.

    Gradient reversal stands between E and D, so that one backward pass of
    L_adv + α L_scale + β L_rec trains D to classify the modality and E to hide it (Eq. 4).

    Args:
        in_channels: channels of a cube.
        features: output channels of the encoder's levels, finest first.
        num_modalities: classes of D.
        num_scales: classes of S.
        mial: whether there is a D (False is the ablation without the modality-adversarial module).
        scale_classifier: whether there is an S (False is the ablation without it).
        outputs: "restoration": forward returns the restored cube; "all": the logits of every part, for training.
        batch_statistics: of E and G, see `unet.ConvBlock`.
        reversal: coefficient of the gradient that D sends back to E, reversed; 1 in the paper.

    Shape:
        image (B, in_channels, H, W, D) → restored cube in [0, 1], the same shape; or, with outputs="all", a dict of
        "restoration" (B, in_channels, H, W, D), "modality" (B, num_modalities) and "scale" (B, num_scales) logits,
        without the keys of the parts that are switched off.

    Raises:
        ValueError: when `outputs` is not one of the two.
    """

    __constants__ = ("everything",)  # TorchScript keeps one branch of forward, so the two return types may differ

    def __init__(
        self,
        in_channels: int = 1,
        features: Sequence[int] = FEATURES,
        num_modalities: int = 2,
        num_scales: int = 3,
        mial: bool = True,
        scale_classifier: bool = True,
        outputs: str = "restoration",
        batch_statistics: bool = False,
        reversal: float = 1.0,
    ) -> None:
        super().__init__()
        self.reversal = float(reversal)
        if outputs not in OUTPUTS:
            raise ValueError(f"outputs must be one of {OUTPUTS}, got {outputs!r}")
        self.everything = outputs == "all"
        self.encoder = Encoder(in_channels, features, batch_statistics)
        self.decoder = Decoder(features, in_channels, batch_statistics)
        self.discriminator = ModalityDiscriminator(features, num_modalities) if mial else None
        self.scale_classifier = ScaleClassifier(features[-1], num_scales) if scale_classifier else None

    def forward(self, image: torch.Tensor):
        """Restore a corrupted cube; with outputs="all" also classify its modality and scale."""
        levels = self.encoder(image)
        restoration = self.decoder(levels)
        if self.everything:
            outputs = {"restoration": restoration}
            if self.discriminator is not None:
                pooled = [reverse_gradient(self.encoder.pool(level), self.reversal) for level in levels[:-1]]
                outputs["modality"] = self.discriminator(pooled)
            if self.scale_classifier is not None:
                outputs["scale"] = self.scale_classifier(levels[-1])
            return outputs
        else:
            return torch.sigmoid(restoration)


class ClassificationModel(nn.Module):
    """E with global average pooling and two fully connected layers: the network of LNC and ADC (paper IV-C.2).

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        features: output channels of the encoder's levels, finest first; as in pre-training, so that its weights fit.
        hidden_channels: units between the two fully connected layers; the paper specifies 1024 for S only.
        batch_statistics: see `unet.ConvBlock`.

    Shape:
        image (B, in_channels, H, W, D) → logits (B, num_classes), sides divisible by 2^(levels − 1).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        features: Sequence[int] = FEATURES,
        hidden_channels: int = 1024,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, batch_statistics)
        self.classifier = PooledClassifier(features[-1], hidden_channels, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.classifier(self.encoder(image)[-1])


class SegmentationModel(UNet):
    """E and G for a segmentation task, one logit per voxel (paper IV-B.2).

    The names of its parameters are those of `UniversalModel`, so that pre-trained weights fit; the arguments are
    those of `UNet`.

    Shape:
        image (B, in_channels, H, W, D) → logits (B, out_channels, H, W, D), sides divisible by 2^(levels − 1).
    """
