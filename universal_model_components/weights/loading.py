# SPDX-License-Identifier: Apache-2.0
"""Weights: into a network that continues them (`load_weights`, strict) or starts a task from them (`load_pretrained`).

Either every tensor that was asked for fits, or one line says why not and the network is left as it was.
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
from .provenance import BATCH_STATISTICS, differences, read_provenance, tensors_sha256
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
    """Start a network from pre-trained weights, print what was loaded, and refuse when that was too little.

    Tensors are matched by name and shape; a first convolution with one input channel serves n (see `coverage.fit`). A
    backbone whose names have no part is the encoder (see `conversion.as_encoder`).
    The paper (IV-C.2) transfers encoder and decoder to segmentation and the encoder to classification. The decoder's
    last layer, `decoder.head`, has one output here and there, but restores intensities in one and tells foreground in
    the other: it starts anew unless `new_heads` says otherwise.

    Args:
        network: a task's network, with parts named as in `UniversalModel`; not wrapped, not compiled.
        source: a file or a mapping of `weight_files.open_weights`, or None or "null": start from scratch, and say so.
        minimum_coverage: the least share, 0 to 1, of each part's values (weights and running statistics) that must be
            loaded: one number for all parts, or a mapping for those that count, such as {"encoder": 1.0}.
        new_heads: parts or layers that stay as they were initialized.
        recipe: this run's settings; those of `provenance.RECIPE` that are not the provenance's warn in one line.
        transfer: the parts to load, "encoder" or "encoder+decoder"; no share is asked of the others. None is all.

    Returns:
        The coverage that was printed; None when starting from scratch.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be read or holds code, differs from its provenance or the bundle's large_files.yml,
            nothing in it fits, or a part's coverage is too low, or the network lacks a part of `transfer`; one line.
    """
    anew = new_parts(network, transfer, new_heads)
    if source is None or (isinstance(source, str) and source.strip().lower() in ("null", "none")):
        logger.info("pretrained_weights: none given, the network starts from scratch")
        return None
    (found, provenance), own = trusted_weights(source), network.state_dict()
    chosen, coverage = match_state(own, as_encoder(found.state, own), found.name, anew)
    if isinstance(minimum_coverage, Mapping):
        minimum_coverage = {part: share for part, share in minimum_coverage.items() if part not in anew}
    _show(coverage)
    _require(coverage, minimum_coverage, found.state, own)
    network.load_state_dict(chosen, strict=False)
    _warn(network, found.name, provenance, recipe or {})
    return coverage


def load_encoder(network: nn.Module, source: str | Path | Mapping[str, Any]) -> Coverage:
    """Start another network, such as MONAI's `BasicUNet`, from the encoder's weights where the shapes allow it.

    Layers are paired in order, see `conversion.encoder_for`; the table that is printed says how far that goes.

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
    """Read weights, hold them against what is known of them, and give original checkpoints our names.

    A provenance, inside or beside, must be that of these tensors. A file without one must have the hash that
    large_files.yml gives, when it is in a bundle that lists it.

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
    spoilt = next((name for name, tensor in found.state.items() if not tensor.isfinite().all()), None)
    if spoilt is not None:
        raise ValueError(
            f"pretrained_weights: {spoilt} in {found.name} has values that are not finite: give weights from before "
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


def _warn(network: nn.Module, name: str, provenance: Mapping[str, Any] | None, recipe: Mapping[str, Any]) -> None:
    """Warn, in one line each, when images or normalization are not as the weights' training had them."""
    if provenance is None:
        logger.info("pretrained_weights: %s has no provenance: how its images were prepared is not known", name)
        return
    if others := differences(provenance, recipe):
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
    """Raise when a part is covered too little, or nothing is, with what would mend it."""
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
    return _read_plain(file)[0]


def _read_plain(file: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    found, provenance = trusted_weights(file)
    if found.kind != "PyTorch" or found.wrapping:
        what = f"a mapping of {found.wrapping}" if found.wrapping else found.kind
        raise ValueError(f"pretrained_weights: {file} holds {what}, expected a plain state dict: give a model.pt")
    return found.state, provenance


def check_weights(network: nn.Module, file: str | Path, recipe: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Read weights and check that they are the network's, name by name and shape by shape.

    Args:
        network: what they are for; left as it is.
        file: see `read_weights`.
        recipe: settings of this run, see `load_pretrained`.

    Raises:
        FileNotFoundError, ValueError: as `read_weights`; ValueError also when names or shapes differ. Each is one line.
    """
    (state, provenance), own = _read_plain(file), network.state_dict()
    unet = bool(encoder_features(own))
    if unet and encoder_features(state) != encoder_features(own):
        raise ValueError(
            f"pretrained_weights: {file} has features {encoder_features(state)}, the network {encoder_features(own)}: "
            f'give --features "{encoder_features(state)}"'
        )
    for found, names in (("lacks", own.keys() - state.keys()), ("has unknown", state.keys() - own.keys())):
        if names:
            parts = sorted({name.split(".")[0] for name in names})
            raise ValueError(
                f"pretrained_weights: {file} {found} {len(names)} tensors of {parts}, first {min(names)}: give "
                + ("mial and scale_classifier as in its training" if unet else f"weights of {type(network).__name__}")
            )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"pretrained_weights: {name} in {file} is {list(state[name].shape)}, the network expects "
                f"{list(tensor.shape)}: give {'features and modalities' if unet else 'the width'} as in its training"
            )
    if recipe is not None:
        _warn(network, str(file), provenance, recipe)
    return state


def load_weights(network: nn.Module, file: str | Path, recipe: Mapping[str, Any] | None = None) -> nn.Module:
    """Load weights strictly into the network and return it; it is left as it was when they do not fit.

    Raises:
        FileNotFoundError, ValueError: as `check_weights`.
    """
    network.load_state_dict(check_weights(network, file, recipe))
    return network
