# SPDX-License-Identifier: Apache-2.0
"""The permutations that 3D Jigsaw tells apart: random ones, no two of them alike."""

from __future__ import annotations

import torch
from torch import Tensor

TRIES = 1000  # for each permutation


def draw_permutations(count: int = 100, pieces: int = 27, least: int = 19, seed: int = 0) -> Tensor:
    """Draw permutations that differ from each other in at least `least` places.

    Random permutations, of which those too near to an earlier one are drawn again. Two random permutations agree in one
    place on average, so that the mean distance of 27 pieces is 26, as that of the published set, whose least is 19.

    Args:
        count: number of permutations.
        pieces: places of each.
        least: Hamming distance between any two.
        seed: of the draw.

    Shape:
        → (count, pieces) int64; row p says which piece is at each place.

    Raises:
        ValueError: when there are not so many, or they are not found.
    """
    generator = torch.Generator().manual_seed(seed)
    found = torch.empty(0, pieces, dtype=torch.int64)
    for _ in range(count * TRIES):
        if len(found) == count:
            break
        drawn = torch.randperm(pieces, generator=generator)
        if bool((hamming_distances(drawn[None], found) >= least).all()):
            found = torch.cat([found, drawn[None]])
    if len(found) < count:
        raise ValueError(
            f"count: found {len(found)} of {count} permutations of {pieces} pieces that differ in {least} places: "
            "ask for fewer, or for a lower distance"
        )
    return found


def hamming_distances(first: Tensor, second: Tensor) -> Tensor:
    """Count the places in which rows differ: (M, N), (K, N) → (M, K) int64."""
    return (first[:, None] != second[None]).sum(2)
