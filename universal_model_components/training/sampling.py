# SPDX-License-Identifier: Apache-2.0
"""Batch sampling: labels balanced, every cube once before any twice, the same on any number of ranks.

Labels are modalities in pre-training, classes in a classification task. Training reads one endless sequence of slots.
Slot g belongs to label g mod M and takes the cube at place g // M of that label's stream, a chain of shuffles of all
its cubes. A step takes the next `batch_size × world_size` slots, and each rank its own part of them.
The sequence is a function of the seed alone, so a run resumes at any step, and one process with the whole batch sees
exactly what several processes see together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from ignite.engine import Events
from torch.utils.data import Sampler

EPOCHS: dict[str, Callable[[Iterable[int]], int]] = {"largest": max, "smallest": min}


class BalancedBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (cube index, corruption seed), balanced over the labels to within one cube.

    Args:
        labels: the modality or the class of each cube, (N,).
        batch_size: cubes per step on this rank.
        seed: seed of the shuffles and of the corruption seeds.
        rank: this process.
        world_size: number of processes.
        epoch: "largest": an epoch is as many steps as the largest label needs to be seen once, smaller ones are
            repeated; "smallest": as many as the smallest needs, and each epoch sees other cubes of the larger ones.

    Raises:
        ValueError: when there are no cubes, or `batch_size` is not positive, or `rank` is not below `world_size`, or
            `epoch` is neither of the two.
    """

    def __init__(
        self,
        labels: Sequence[int] | torch.Tensor,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch: str = "largest",
    ) -> None:
        labels = torch.as_tensor(labels)
        if labels.numel() == 0:
            raise ValueError("labels is empty: there are no cubes to sample from")
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"batch_size must be positive and rank below world_size, got {batch_size=}, {rank=}, {world_size=}"
            )
        if epoch not in EPOCHS:
            raise ValueError(f"epoch: got {epoch!r}, expected one of {list(EPOCHS)}")
        self.members = [torch.nonzero(labels == label).flatten() for label in labels.unique(sorted=True)]
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.places = EPOCHS[epoch](map(len, self.members))
        self.start_step = 0
        self._shuffles: dict[int, tuple[int, torch.Tensor]] = {}  # label → (cycle, its shuffle)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return math.ceil(len(self.members) * self.places / (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches from `start_step` (counted from the first epoch on) to the end of its epoch."""
        epoch = self.start_step // len(self)
        for step in range(self.start_step, (epoch + 1) * len(self)):
            part = (self.rank + step) % self.world_size  # ranks take turns, so that odd batches balance out too
            first = (step * self.world_size + part) * self.batch_size
            yield [self._draw(slot) for slot in range(first, first + self.batch_size)]

    def _draw(self, slot: int) -> tuple[int, int]:
        place, label = divmod(slot, len(self.members))
        members = self.members[label]
        cycle, position = divmod(place, len(members))
        if self._shuffles.get(label, (-1,))[0] != cycle:
            key = (self.seed * 1_000_003 + label) * 1_000_003 + cycle
            generator = torch.Generator().manual_seed(key % 2**63)
            self._shuffles[label] = (cycle, torch.randperm(len(members), generator=generator))
        index = members[self._shuffles[label][1][position]]
        # seeds of training lie above 2^40, those of validation (a cube's own index) below
        return int(index), ((self.seed % 2**22 + 1) << 40) + slot


class SamplerStep:
    """Ignite handler that sets where the trainer's batch sampler continues, if it has a `start_step`."""

    def attach(self, engine: Any) -> None:
        """Set it at the start of each epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Set the sampler's `start_step` to the iterations done."""
        sampler: Any = getattr(engine.data_loader, "batch_sampler", None)
        if hasattr(sampler, "start_step"):
            sampler.start_step = engine.state.iteration
