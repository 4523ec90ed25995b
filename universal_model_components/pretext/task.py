# SPDX-License-Identifier: Apache-2.0
"""What pretext tasks have in common: a batch of the cube store becomes input and classes, by the cubes' seeds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..method.corruptions import move
from ..method.genesis import cubes_and_seeds


class PretextTask(ABC):
    """A pretext task on a batch; what is done to a cube is a function of its seed.

    A task has a `name`, the key of its logits and targets, and `num_classes`.
    """

    name: str
    num_classes: int

    @abstractmethod
    def apply(self, cubes: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's input and the classes of cubes (B, C, H, W, D) with seeds (B,), which are on the CPU."""

    @torch.no_grad()
    def prepare_batch(
        self,
        batch: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Prepare a batch of the cube store: what MONAI's engines accept as `prepare_batch`.

        Args:
            batch: "image" (B, C, H, W, D) and, where present, "seed" (B,).
            device: for the preparation and the training.
            non_blocking: copy to the device without waiting (from pinned memory).
            kwargs: passed on to `Tensor.to` for the image.

        Returns:
            The network's input, and {name: classes (B,)}.

        Raises:
            ValueError: when the task cannot use cubes of this shape.
        """
        cubes, seeds = cubes_and_seeds(batch, device, non_blocking, **kwargs)
        image, labels = self.apply(cubes, seeds)
        return image, {self.name: move(labels, cubes.device)}
