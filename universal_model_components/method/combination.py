# SPDX-License-Identifier: Apache-2.0
"""τ as a pure function of a batch and the parameters that `genesis` drew for it (paper III-A)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .corruptions import flip, inner_paint, map_intensity, mask_blocks, move, outer_paint
from .local_shuffling import Blocks, shuffle_blocks


class Parameters(NamedTuple):
    """The corruption of a batch: for each kind, which samples undergo it and with what.

    Shape:
        flipped, shuffled, mapped, inner, outer: indices of n samples each; axes (n, 3) bool; control (n, 2, 2) and
        decreasing (n,) bool; boxes and windows (n, 5, 2, 3); their noise (n, C, H, W, D). masked (B, h, w, d) bool, the
        masked blocks of every sample, or None.
    """

    flipped: Tensor
    axes: Tensor
    shuffled: Tensor
    blocks: Blocks
    mapped: Tensor
    control: Tensor
    decreasing: Tensor
    inner: Tensor
    boxes: Tensor
    inner_noise: Tensor
    outer: Tensor
    windows: Tensor
    outer_noise: Tensor
    masked: Tensor | None


def corrupt(cubes: Tensor, parameters: Parameters, mask_side: int = 8) -> tuple[Tensor, Tensor]:
    """Apply what was drawn, in τ's order; samples that were not selected pass unchanged: → (corrupted, target)."""
    p = parameters
    target = cubes
    if len(p.flipped):
        target = _update(cubes.clone(), p.flipped, lambda chosen: flip(chosen, p.axes))
    corrupted = target.clone()
    _update(corrupted, p.shuffled, lambda chosen: shuffle_blocks(chosen, p.blocks))
    _update(corrupted, p.mapped, lambda chosen: map_intensity(chosen, p.control, p.decreasing))
    _update(corrupted, p.inner, lambda chosen: inner_paint(chosen, p.boxes, p.inner_noise))
    _update(corrupted, p.outer, lambda chosen: outer_paint(chosen, p.windows, p.outer_noise))
    if p.masked is not None:
        corrupted = mask_blocks(corrupted, p.masked, mask_side)
    return corrupted, target


def _update(cubes: Tensor, samples: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Replace the chosen samples of a batch, in place."""
    if len(samples):
        index = move(samples, cubes.device)
        cubes.index_copy_(0, index, function(cubes.index_select(0, index)))
    return cubes
