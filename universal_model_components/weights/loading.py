# SPDX-License-Identifier: Apache-2.0
"""Read weights that can be trusted, and initialize a network with them (`load_pretrained`); `strict` loads all of them.

Either every requested tensor fits, or a one-line error says why not and the network is unchanged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .conversion import as_encoder, encoder_features, encoder_for, from_original, is_original
from .coverage import Coverage, least_shares, match_state, part_of, percent
from .files import WeightFile, open_weights
from .large_files import listed_entry, problem_of
from .provenance import (
    BATCH_STATISTICS,
    LAYERS,
    RECIPE,
    differences,
    read_provenance,
    tensors_sha256,
)
from .transfer import NEW_HEADS, new_parts

logger = logging.getLogger(__name__)


def load_pretrained(
    network: nn.Module,
    source: str | Path | Mapping[str, Any] | None,
    minimum_coverage: float | Mapping[str, float] = 1.0,
    new_heads: Sequence[str] = NEW_HEADS,
    recipe: Mapping[str, Any] | None = None,
    transfer: str | None = None,
) -> Coverage | None:
    """Initialize a network from pre-trained weights, print what was loaded, and raise when that was too little.

    Tensors are matched by name and shape; a first convolution with one input channel serves n (see `coverage.fit`). A
    backbone whose names have no part is the encoder (see `conversion.as_encoder`).
    The paper (IV-C.2) transfers encoder and decoder to segmentation and the encoder to classification. The decoder's
    last layer, `decoder.head`, has one output in both networks, but restores intensities in pre-training and predicts
    foreground in a task: it starts from random weights unless `new_heads` says otherwise.

    Args:
        network: a task's network, with parts named as in `UniversalModel`; not wrapped, not compiled.
        source: a file or a mapping of `weight_files.open_weights`, or None or "null": start from scratch, and log it.
        minimum_coverage: the minimum share, 0 to 1, of each part's values (weights and running statistics) that must be
            loaded: one number for all parts, or a mapping for selected parts, such as {"encoder": 1.0}.
        new_heads: parts or layers that stay as they were initialized.
        recipe: this run's settings; a one-line warning names those of `provenance.RECIPE` that differ from its own.
        transfer: the parts to load, "encoder" or "encoder+decoder"; the others need no coverage. None is all.

    Returns:
        The coverage that was printed; None when starting from scratch.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be read or holds code, differs from its provenance or the bundle's large_files.yml,
            nothing in it fits, or a part's coverage is too low, or the network lacks a part of `transfer`; one line.
    """
    new = new_parts(network, transfer, new_heads)
    if source is None or (isinstance(source, str) and source.strip().lower() in ("null", "none")):
        logger.info("pretrained_weights: none given, the network starts from scratch")
        return None
    (found, provenance), own = trusted_weights(source), network.state_dict()
    chosen, coverage = match_state(own, as_encoder(found.state, own), found.name, new)
    if isinstance(minimum_coverage, Mapping):
        minimum_coverage = {part: share for part, share in minimum_coverage.items() if part not in new}
    _show(coverage)
    _require(coverage, minimum_coverage, found.state, own)
    network.load_state_dict(chosen, strict=False)
    warn_of_differences(network, found.name, provenance, recipe or {})
    return coverage


def load_encoder(network: nn.Module, source: str | Path | Mapping[str, Any]) -> Coverage:
    """Initialize another network, such as MONAI's `BasicUNet`, from the encoder's weights where the shapes allow it.

    Layers are paired in order, see `conversion.encoder_for`; the printed table shows how many were loaded.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: as `load_pretrained`, and when no layer fits.
    """
    found, _ = trusted_weights(source)
    named = encoder_for(network, found.state)
    chosen, coverage = match_state(network.state_dict(), named, found.name)
    _show(coverage)
    if not chosen:
        raise ValueError(
            f"pretrained_weights: no layer of {found.name} (features {encoder_features(found.state)}) fits "
            f"{type(network).__name__}: give that network convolutions of these widths"
        )
    network.load_state_dict(chosen, strict=False)
    return coverage


def trusted_weights(source: str | Path | Mapping[str, Any]) -> tuple[WeightFile, dict[str, Any] | None]:
    """Read weights, verify their hashes, and convert the layer names of original checkpoints.

    A provenance, in the file or beside it, must match the tensors. A file without one, in a bundle whose
    large_files.yml lists it, must have the listed hash.

    Raises:
        FileNotFoundError, ValueError: as `load_pretrained`.
    """
    found = open_weights(source)
    provenance = read_provenance(found.name, found.metadata)
    if provenance is not None and provenance.get("sha256") != tensors_sha256(found.state):
        raise ValueError(
            f"pretrained_weights: the tensors of {found.name} are not those of its provenance: download or write both "
            "again, or delete the provenance if the weights are yours"
        )
    damaged = next((name for name, tensor in found.state.items() if not tensor.isfinite().all()), None)
    if damaged is not None:
        raise ValueError(
            f"pretrained_weights: {damaged} in {found.name} has values that are not finite: give weights from before "
            "their training diverged"
        )
    entry = listed_entry(found.name) if provenance is None and found.kind != "mapping" else None
    problem = None if entry is None else problem_of(found.name, entry)
    if problem is not None:
        raise ValueError(f"pretrained_weights: {problem}")
    if is_original(found.state):
        found.state, left_out = from_original(found.state, found.name)
        provenance = {"normalization": BATCH_STATISTICS, **(provenance or {})}
        logger.info("%s has the original's layer names, they are converted; left out: %s", found.name, left_out or "-")
    return found, provenance


def _show(coverage: Coverage) -> None:
    if int(os.environ.get("RANK", "0")) == 0:
        print(coverage, flush=True)


def warn_of_differences(
    network: nn.Module, name: str, provenance: Mapping[str, Any] | None, recipe: Mapping[str, Any]
) -> None:
    """Warn, in one line each, when image preparation, layers or normalization differ from the weights' training."""
    if provenance is None:
        logger.info("pretrained_weights: %s has no provenance: how its images were prepared is unknown", name)
        return
    if others := differences(provenance, recipe, (*RECIPE, *LAYERS)):
        logger.warning("pretrained_weights: %s was trained with %s: is that meant?", name, "; ".join(others))
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if provenance.get("normalization") == BATCH_STATISTICS and any(norm.track_running_stats for norm in norms):
        logger.warning(
            "pretrained_weights: %s was trained for batch statistics in evaluation too, this network uses running "
            "ones: give batch_statistics true to reproduce its outputs",
            name,
        )


def _require(
    coverage: Coverage, minimum: float | Mapping[str, float], given: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    """Raise when a part is covered too little, or nothing is, with what would fix it."""
    nothing = not any(part.values_loaded for part in coverage.parts.values())
    hint = "give a lower minimum_coverage if that is meant"
    if encoder_features(own) and encoder_features(given) and encoder_features(given) != encoder_features(own):
        hint = f'give --features "{encoder_features(given)}"'
    elif nothing and any(part.other_shape for part in coverage.parts.values()):
        hint = "give the width as in its training"
    elif nothing:
        hint = f"its names begin with {sorted(set(map(part_of, given)))[:4]}: give weights of such a network"
    for name, threshold in least_shares(coverage, minimum).items():
        part = coverage[name]
        if part.share is not None and part.share < threshold:
            if name == "decoder" and not part.share and not nothing:
                hint = "give transfer encoder, or other weights"  # a decoder of new weights would count as loaded
            raise ValueError(
                f"pretrained_weights: {coverage.source} covers {percent(part.share)} of {name}, expected "
                f"{threshold:.1%} ({part.first}): {hint}"
            )
    if nothing:
        raise ValueError(f"pretrained_weights: no tensor of {coverage.source} fits the network: {hint}")


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """Read a plain state dict; nothing in the file is executed (`weights_only=True`).

    Args:
        file: written by `torch.save(network.state_dict(), file)`, such as `models/model.pt`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a plain state dict.
    """
    return read_plain(file)[0]


def read_plain(file: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read as `read_weights`, and the provenance, None where there is none."""
    found, provenance = trusted_weights(file)
    if found.kind != "PyTorch" or found.wrapping:
        what = f"a mapping of {found.wrapping}" if found.wrapping else found.kind
        raise ValueError(f"pretrained_weights: {found.name} holds {what}, expected a plain state dict: give a model.pt")
    return found.state, provenance
