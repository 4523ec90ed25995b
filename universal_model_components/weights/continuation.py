# SPDX-License-Identifier: Apache-2.0
"""Continued pre-training: which parts earlier weights initialize, and what the new provenance says of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..utils.settings import to_optional
from .coverage import part_of
from .files import open_weights
from .loading import load_pretrained, trusted_weights
from .provenance import METHOD_OF_A_TASK, tensors_sha256

OF_AN_ANCESTOR = ("method", "license", "modalities", "data", "scans", "epoch", "converted_from", "continued_from")
DISCRIMINATOR = "discriminator"

logger = logging.getLogger(__name__)


def continue_pretraining(
    network: nn.Module,
    pretrained_weights: str | Path | Mapping[str, Any] | None,
    modalities: Sequence[str],
    recipe: Mapping[str, Any] | None = None,
    ckpt_dir: str | Path | None = None,
) -> dict[str, Any] | None:
    """Initialize a network that will be pre-trained from earlier weights, and print the coverage.

    The encoder has to fit, and the decoder where there is one in the file. Any other part, such as the discriminator
    and the scale classifier, is loaded where it has the same shapes, else it starts anew. The discriminator also
    starts anew where its modalities were others, or in another order; so does the decoder's head after a target task.

    Args:
        network: such as `UniversalModel`, of the width of the weights.
        pretrained_weights: as for `load_pretrained`: of a pre-training, or an original checkpoint; None or "null" is
            from scratch.
        modalities: of this run, in the order of their labels.
        recipe: of this run's cubes, compared with that of the weights, see `load_pretrained`.
        ckpt_dir: where this run writes its own weights; those it starts from must not be there, as they would be
            replaced, and a resumed run would name its own weights as its ancestor.

    Returns:
        Where the weights are from, for the provenance: file, sha256 of the tensors, the parts that were loaded and
        those that start anew, and what is known of `OF_AN_ANCESTOR`; None from scratch.

    Raises:
        FileNotFoundError, ValueError: as `load_pretrained`; ValueError also for weights in `ckpt_dir`.
    """
    if to_optional(pretrained_weights) is None:
        return None
    found, provenance = trusted_weights(pretrained_weights)  # type: ignore[arg-type]
    if ckpt_dir is not None and Path(found.name).resolve().parent == Path(ckpt_dir).resolve():
        raise ValueError(
            f"pretrained_weights: {found.name} is in ckpt_dir, where this run writes its own weights: give another "
            "bundle_root or ckpt_dir"
        )
    stated, own = provenance or {}, network.state_dict()
    new = sorted(_new_heads(own, found.state, stated, list(modalities)))
    source: Any = found.name if found.kind != "mapping" else pretrained_weights
    coverage = load_pretrained(network, source, new_heads=new, recipe=recipe)
    assert coverage is not None
    loaded = sorted(part.name for part in coverage.parts.values() if part.loaded)
    logger.info("continuing from %s: %s loaded, %s anew", found.name, loaded, new or "nothing")
    sha256 = stated.get("sha256") or tensors_sha256(open_weights(source).state)
    return {**describe_ancestor(found.name, sha256, stated), "loaded": loaded, "new": new}


def describe_ancestor(file: str, sha256: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a provenance says of the weights that training started from.

    Args:
        file: of these weights; its folder is not stated.
        sha256: of their tensors.
        stated: their own provenance, of which `OF_AN_ANCESTOR` is stated.
    """
    return {"file": Path(file).name, "sha256": sha256, **{k: stated[k] for k in OF_AN_ANCESTOR if k in stated}}


def _new_heads(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], stated: Mapping[str, Any], modalities: list[str]
) -> set[str]:
    """Return the parts and layers of the network that start anew."""
    parts = {part_of(name) for name in own}
    new = {part for part in parts - {"encoder", "decoder"} if not _fits(part, own, given)}
    if DISCRIMINATOR in parts and stated.get("modalities") != modalities:
        new.add(DISCRIMINATOR)
    if "decoder" in parts and not any(part_of(name) == "decoder" for name in given):
        new.add("decoder")
    elif "decoder" in parts and stated.get("method") == METHOD_OF_A_TASK:
        new.add("decoder.head")
    return new


def _fits(part: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> bool:
    names = [name for name in own if part_of(name) == part]
    return all(name in given and given[name].shape == own[name].shape for name in names)
