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
    """Return the orders of the axes that exchange only sides of equal length, the identity first."""
    orders = itertools.permutations(range(len(sides)))
    return [order for order in orders if all(sides[axis] == side for axis, side in zip(order, sides, strict=True))]


def apply_symmetry(volume: Tensor, order: Sequence[int], flips: Sequence[bool]) -> Tensor:
    """Put the three spatial axes in another order, then flip some.

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
    """Flip each axis at random, and exchange axes of equal length at random; all keys alike.

    A rotation by 90° is a transpose and a flip, so those come out too, each with its share. A cube of 64×64×32 keeps
    its short axis, whatever the draw. The results are plain tensors: a turned cube has no place in its scan.

    Args:
        keys: tensors (C, H, W, D) of one shape.
        flip: probability for each axis.
        transpose: probability that the axes are put in an order drawn from all that the sides allow.
        allow_missing_keys: pass over keys that are not there.
    """

    def __init__(
        self, keys: KeysCollection, flip: float = 0.5, transpose: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.flip, self.transpose = float(flip), float(transpose)
        self.order: tuple[int, ...] = (0, 1, 2)
        self.flips: list[bool] = [False] * 3

    def randomize(self, sides: Sequence[int]) -> None:
        """Draw the order of the axes, and which are flipped."""
        orders = equal_side_permutations(sides)
        chosen = int(self.R.randint(len(orders)))
        self.order = orders[chosen] if self.R.random_sample() < self.transpose else orders[0]
        self.flips = [bool(draw < self.flip) for draw in self.R.random_sample(3)]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn every key's tensor."""
        result = dict(data)
        keys = list(self.key_iterator(result))
        self.randomize(result[keys[0]].shape[1:])
        for key in keys:
            volume = torch.as_tensor(result[key]).as_subclass(Tensor)
            result[key] = apply_symmetry(volume, self.order, self.flips)
        return result
