# SPDX-License-Identifier: Apache-2.0
"""Augmentation whose chance is a function of a seed, so that a run that is resumed goes on just as it would have.

What is drawn is named in JSON, in MONAI's own transforms: `RandFlipd` for each axis, `RandRotate90d` for each pair of
equal sides (with the flips these are all rotations and transposes of a box onto itself), `RandGaussianNoised`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.transforms import Compose
from torch.utils.data import Dataset


class SeededDataset(Dataset):
    """Items of another dataset, changed at random by a transform that is told its seed.

    `dataset[i, seed]` is item i, augmented; it does not depend on the worker, the rank or what was read before.
    `dataset[i]` takes i for its seed.

    Args:
        dataset: whose items are the same each time.
        transform: MONAI's `Compose` with random transforms in it.
    """

    def __init__(self, dataset: Dataset, transform: Compose) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        number, seed = index if isinstance(index, (tuple, list)) else (index, index)
        item = self.dataset[int(number)]
        self.transform.set_random_state(seed=int(seed) % 2**32)
        return self.transform(item)


def equal_sides(shape: Sequence[int], first: int, second: int) -> bool:
    """Return whether two axes of a cube may be exchanged; JSON asks it whether to rotate in their plane."""
    return int(shape[first]) == int(shape[second])
