# SPDX-License-Identifier: Apache-2.0
"""Which parts of a task's network start from pre-trained weights, and which start from random weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .coverage import part_of

NEW_HEADS = ("decoder.head", "classifier")
TRANSFERS = {"encoder": ("encoder",), "encoder+decoder": ("encoder", "decoder")}


def new_parts(network: nn.Module, transfer: str | None, new_heads: Sequence[str] = NEW_HEADS) -> tuple[str, ...]:
    """Return the parts and layers of a network that stay as they were initialized.

    Args:
        network: with parts named as in `UniversalModel`.
        transfer: "encoder" or "encoder+decoder", the parts that are loaded; None is every part.
        new_heads: parts or layers that start from random weights in any case.

    Raises:
        ValueError: when `transfer` is neither, or names a part that the network lacks.
    """
    if transfer is None:
        return tuple(new_heads)
    if transfer not in TRANSFERS:
        raise ValueError(f"transfer: {transfer!r} is not one of {list(TRANSFERS)}")
    own = {part_of(name) for name, _ in network.named_parameters()}
    missing = [part for part in TRANSFERS[transfer] if part not in own]
    if missing:
        raise ValueError(f"transfer: {transfer!r}, but the network has no {missing[0]} (found {sorted(own)})")
    return (*new_heads, *sorted(own.difference(TRANSFERS[transfer], new_heads)))
