# SPDX-License-Identifier: Apache-2.0
"""How a run prepares its images: by its own settings, or by those its weights were trained with."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..utils.settings import to_bool, to_optional
from .hub import find_weights
from .loading import trusted_weights
from .provenance import BATCH_STATISTICS, read_provenance

logger = logging.getLogger(__name__)


def trained_with(weights: str | Path | None, modality: str | None = None, **defaults: Any) -> dict[str, Any]:
    """Return settings as the provenance beside some weights states them, the others as given.

    Args:
        weights: as for `hub.find_weights`; it need not exist, and is not read itself. The provenance beside an export
            of the weights is that of the weights: model.onnx has model.provenance.json too.
        modality: of this run's scans, where a run has one: where the provenance states a setting by modality, that of
            this modality is taken. None takes it as it is stated.
        defaults: by key: what holds where there is no provenance, or it does not state the key. `batch_statistics` is
            true where the provenance states such a normalization.

    Raises:
        ValueError: when the provenance is not JSON.
    """
    provenance: dict[str, Any] = {}
    if isinstance(weights, (str, Path)):  # anything else is no file: `check_settings`, which comes next, names the key
        with contextlib.suppress(FileNotFoundError):  # loading says so
            provenance = read_provenance(find_weights(weights), {}) or {}
    if "normalization" in provenance:
        provenance["batch_statistics"] = provenance["normalization"] == BATCH_STATISTICS
    return {key: _of_modality(provenance.get(key, value), modality, value) for key, value in defaults.items()}


def _of_modality(stated: Any, modality: str | None, default: Any) -> Any:
    """Return what is stated for a modality, where it is stated by modality; the default where it lacks this one."""
    return stated.get(modality, default) if modality is not None and isinstance(stated, Mapping) else stated


def image_recipe(
    follow_pretraining: bool | str = False,
    pretrained_weights: str | Path | Mapping[str, Any] | None = None,
    modality: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Return the network's width and how images are prepared; what is taken from the provenance is logged.

    Args:
        follow_pretraining: replace each of them by what the provenance states.
        pretrained_weights: as for `load_pretrained`; read only when they are followed.
        modality: of this run's scans. Pre-training states intensities by modality; where it lacks this one, the
            run's own setting is kept.
        settings: of this run, by key: features, spacing in mm, intensity_range, intensity_scale, patch_size in voxels.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when there are no weights to follow, or no provenance, or as `loading.trusted_weights`; one line.
    """
    if not to_bool(follow_pretraining, "follow_pretraining"):
        return settings
    if to_optional(pretrained_weights) is None:
        raise ValueError("follow_pretraining: there are no pretrained_weights to follow: give a file, or false")
    found, provenance = trusted_weights(pretrained_weights)  # type: ignore[arg-type]
    stated = {key: provenance[key] for key in settings if key in provenance} if provenance else {}
    images = [key for key in settings if key != "features"]  # any converted file states its width
    if not any(key in stated for key in images):
        raise ValueError(
            f"follow_pretraining: {found.name} has no provenance that states any of {images}: give these, and "
            "follow_pretraining false"
        )
    followed, notes = dict(settings), []
    for key, value in stated.items():
        if isinstance(value, Mapping) and modality not in value:
            notes.append(f"{key} {settings[key]} kept, it states none for {modality!r}")
            continue
        followed[key] = value[modality] if isinstance(value, Mapping) else value
        if followed[key] != settings[key]:
            notes.append(f"{key} {followed[key]} instead of {settings[key]}")
    logger.info("follow_pretraining: as in %s: %s", found.name, "; ".join(notes) or "nothing changes")
    return followed
