# SPDX-License-Identifier: Apache-2.0
"""Pooled features, a vector for each level of an encoder, for linear probes and other classifiers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def pool_levels(levels: Sequence[Tensor]) -> list[Tensor]:
    """Average the features of every level over the cube.

    Args:
        levels: the encoder's outputs, finest first.

    Shape:
        list of (B, C_i, H_i, W_i, D_i) → list of (B, C_i), float32.
    """
    return [level.float().mean(dim=(2, 3, 4)) for level in levels]
