# SPDX-License-Identifier: Apache-2.0
"""The corruption that weights were pre-trained with, as their provenance states it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..weights.loading import trusted_weights

logger = logging.getLogger(__name__)


def trained_corruption(weights: str | Path, corruption: Any) -> Any:
    """Return the corruption of the weights' training, so that "overall" is measured on what they learned to restore.

    Args:
        weights: file of the weights.
        corruption: of this run; used unchanged, which is logged, where the weights do not state theirs.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the stated corruption is not one of this class, or as `trusted_weights`; one line.
    """
    found, provenance = trusted_weights(weights)
    stated = (provenance or {}).get("corruption")
    if not isinstance(stated, Mapping) or not stated:
        logger.warning("corruption: %s does not state its own: 'overall' is this run's", found.name)
        return corruption
    own = {name: value for name, value in vars(corruption).items() if isinstance(value, (int, float, str))}
    kind = type(corruption)
    if unknown := sorted(stated.keys() - own.keys()):
        raise ValueError(
            f"corruption: {found.name} was trained with one that has {unknown[0]!r}, which {kind.__name__} lacks: "
            "repeat training's corruption::_target_"
        )
    merged = {**own, **stated}
    changes = [f"{name} {merged[name]} instead of {own[name]}" for name in own if merged[name] != own[name]]
    logger.info("corruption: 'overall' as in the training of %s: %s", found.name, ", ".join(changes) or "the same")
    return kind(**merged)


def decreasing_share(corruption: Any) -> float:
    """Return which share of a corruption's intensity maps decreases; the paper's half where it has no such setting."""
    return getattr(corruption, "decreasing", 0.5)


def mask_share(corruption: Any) -> float:
    """Return which share of each cube's blocks a corruption masks; 0 where it has no such setting, as in the paper."""
    return getattr(corruption, "mask", 0.0)


def mask_side(corruption: Any) -> int:
    """Return the side of the blocks that a corruption masks, in voxels; 1 where it has no such setting."""
    return getattr(corruption, "mask_side", 1)
