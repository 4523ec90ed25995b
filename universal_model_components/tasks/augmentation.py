# SPDX-License-Identifier: Apache-2.0
"""Random flips and transposes of training cubes, together also rotations by 90° (paper IV-B.2)."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor


def equal_side_permutations(sides: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the permutations that exchange only axes of equal length, the identity first."""
    orders = itertools.permutations(range(len(sides)))
    return [order for order in orders if all(sides[axis] == side for axis, side in zip(order, sides, strict=True))]


def apply_symmetry(volume: Tensor, order: Sequence[int], flips: Sequence[bool]) -> Tensor:
    """Permute the three spatial axes, then flip some.

    Args:
        volume: any number of leading axes.
        order: which of its axes becomes each axis of the result.
        flips: whether each axis of the result is flipped.

    Shape:
        volume (..., H, W, D) → (..., and its sides in that order).
    """
    leading = volume.ndim - 3
    volume = volume.permute(*range(leading), *(leading + axis for axis in order))
    return volume.flip([leading + axis for axis, flip in enumerate(flips) if flip]).contiguous()


class RandSymmetryd(MapTransform, Randomizable):
    """Flip each axis at random, and permute axes of equal length at random; all keys in the same way.

    A rotation by 90° is a transpose and a flip, so rotations are included. A cube of 64×64×32 always keeps its short
    axis. The results are plain tensors, because the affine no longer applies.

    Args:
        keys: tensors (C, H, W, D) of one shape.
        flip: probability for each axis.
        transpose: probability that the axes are permuted, by one of all permutations that the sides allow.
        allow_missing_keys: skip missing keys.
    """

    def __init__(
        self, keys: KeysCollection, flip: float = 0.5, transpose: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.flip, self.transpose = float(flip), float(transpose)
        self.order: tuple[int, ...] = (0, 1, 2)
        self.flips: list[bool] = [False] * 3

    def randomize(self, sides: Sequence[int]) -> None:
        """Draw the permutation of the axes, and which are flipped."""
        orders = equal_side_permutations(sides)
        chosen = int(self.R.randint(len(orders)))
        self.order = orders[chosen] if self.R.random_sample() < self.transpose else orders[0]
        self.flips = [bool(draw < self.flip) for draw in self.R.random_sample(3)]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Permute and flip every key's tensor."""
        result = dict(data)
        keys = list(self.key_iterator(result))
        self.randomize(result[keys[0]].shape[1:])
        for key in keys:
            volume = torch.as_tensor(result[key]).as_subclass(Tensor)
            result[key] = apply_symmetry(volume, self.order, self.flips)
        return result
