# SPDX-License-Identifier: Apache-2.0
"""Random sampling for the paper's τ (III-A): each cube's corruption is drawn from its own seed, and then applied.

The arithmetic is in `combination`, `corruptions` and `local_shuffling`, which draw nothing.

τ is the combination that the paper cites (its reference 14), in this order: flip (input and target), local shuffling,
non-linear map, painting (inner or outer). What each cube undergoes is drawn on the CPU, a few numbers per cube, so that
only the selected cubes are processed; blocks, permutations and noise are drawn on the device of the cubes.

Two options go beyond the paper and are off by default: how many of the maps decrease, and masking blocks after τ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .block_sampling import draw_blocks
from .combination import Parameters, corrupt
from .corruptions import check_cubes, move, spread_blocks
from .counter_rng import noise, uniform

BOXES = 5  # painted boxes or kept windows, at most
ANOTHER = 0.95  # probability of each box, and of each window after the first
CPU_GROUP = 8  # cubes corrupted together on the CPU
MARGIN = 3  # voxels between a box or window and the faces of the cube

_MIX, _NOISE, _MASK = 0, 3, 4  # streams of random numbers of one seed; `block_sampling` has its own


def draw_seeds(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw one int64 seed for each of `count` samples, (count,), from a generator (by default PyTorch's own)."""
    return torch.randint(2**63 - 1, (count,), generator=generator)


def cubes_and_seeds(
    batch: Mapping[str, Any],
    device: torch.device | str | None = None,
    non_blocking: bool = False,
    generator: torch.Generator | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Return a batch's cubes on the device, and their seeds on the CPU, which are drawn when the batch has none.

    Args:
        batch: of the cube store: "image" (B, C, H, W, D) and, where present, "seed" (B,).
        device: of the cubes.
        non_blocking: copy to the device without waiting (from pinned memory).
        generator: source of the seeds, see `draw_seeds`.
        kwargs: passed on to `Tensor.to` for the cubes.
    """
    cubes = batch["image"].to(device=device, non_blocking=non_blocking, **kwargs).as_subclass(Tensor)
    seeds = torch.as_tensor(batch["seed"]) if "seed" in batch else draw_seeds(len(cubes), generator)
    return cubes, seeds.cpu()


class GenesisCorruption:
    """The paper's τ on a batch: flip, then local shuffling, then a non-linear map, then painting; then masking, if any.

    A cube's corruption is a function of its seed alone: the same in any batch and on any device. With seeds on the CPU
    there is no synchronization with a CUDA device.

    Args:
        flip: probability of each further flip along a random axis, of input and target, up to three.
        shuffle: probability of local shuffling.
        nonlinear: probability of a non-linear intensity map.
        paint: probability of painting.
        inner: probability that painting is inner-painting; otherwise it is outer-painting.
        decreasing: probability that such a map decreases.
        mask: share of the blocks of every cube that are masked; the paper's τ masks none.
        mask_side: of these blocks, in voxels.
        generator: source of seeds when a call passes none (CPU; by default PyTorch's own).

    Raises:
        ValueError: when a probability or the share is outside [0, 1], or `mask_side` is not positive.

    Example:
        >>> corrupted, target = GenesisCorruption()(torch.rand(6, 1, 64, 64, 32))
    """

    def __init__(
        self,
        flip: float = 0.4,
        shuffle: float = 0.5,
        nonlinear: float = 0.9,
        paint: float = 0.9,
        inner: float = 0.2,
        decreasing: float = 0.5,
        mask: float = 0.0,
        mask_side: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        self.flip, self.shuffle, self.nonlinear, self.paint, self.inner = flip, shuffle, nonlinear, paint, inner
        self.decreasing, self.mask, self.mask_side = decreasing, mask, mask_side
        for name in ("flip", "shuffle", "nonlinear", "paint", "inner", "decreasing", "mask"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a probability in [0, 1], found {value!r}")
        if isinstance(mask_side, bool) or not isinstance(mask_side, int) or mask_side < 1:
            raise ValueError(f"mask_side: expected a whole number of voxels, at least 1, found {mask_side!r}")
        self.generator = generator

    @torch.no_grad()
    def __call__(self, cubes: Tensor, seeds: Tensor | Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Corrupt a batch.

        Args:
            cubes: sub-volumes in [0, 1], on any device; never changed.
            seeds: one int64 seed for each cube; drawn when None.

        Shape:
            cubes (B, C, H, W, D), seeds (B,) → corrupted and target, both (B, C, H, W, D). Where no cube of the batch
            is flipped the target is `cubes` itself, not a copy.

        Raises:
            ValueError: when cubes are not floating-point (B, C, H, W, D), seeds are not one int64 per cube, or cubes
                are too small to be painted.
        """
        cubes = cubes.as_subclass(Tensor)  # a MetaTensor's overhead would exceed the cost of the arithmetic
        check_cubes(cubes)
        seeds = draw_seeds(len(cubes), self.generator) if seeds is None else torch.as_tensor(seeds).as_subclass(Tensor)
        if seeds.shape != (len(cubes),):
            raise ValueError(f"seeds: expected one for each of {len(cubes)} cubes, found shape {tuple(seeds.shape)}")
        # On the CPU a few cubes at a time, so that they fit in the cache; no cube's result depends on it.
        size = CPU_GROUP if cubes.device.type == "cpu" else max(1, len(cubes))
        groups = zip(cubes.split(size), seeds.split(size), strict=True)
        done = [
            corrupt(part, self.draw(chosen, part.shape[1:], part.device), self.mask_side) for part, chosen in groups
        ]
        corrupted, target = zip(*done, strict=True)
        return (corrupted[0], target[0]) if len(done) == 1 else (torch.cat(corrupted), torch.cat(target))

    def draw(self, seeds: Tensor, shape: Sequence[int], device: torch.device | str = "cpu") -> Parameters:
        """Draw the corruption of cubes of shape (C, H, W, D): seeds (B,) → Parameters, the large ones on `device`.

        A cube is flipped along a random axis while draws succeed, at most three times (an axis drawn twice is flipped
        back). Boxes stop at the first failure of a 0.95 draw; so do windows after the first.
        """
        spatial, device = tuple(shape[1:]), torch.device(device)
        self._check_paintable(spatial)
        seeds = seeds.cpu()
        u = uniform(seeds, _MIX, 15 + 7 * BOXES)
        again, axis, control, choice, more, size, place = u.split([3, 3, 4, 5, BOXES, 3 * BOXES, 3 * BOXES], 1)
        axes = one_hot((axis * 3).long(), 3) * (again < self.flip).cumprod(1)[..., None]
        axes = axes.sum(1) % 2 == 1
        paint, inner = choice[:, 0] < self.paint, choice[:, 1] < self.inner
        which = (axes.any(1), choice[:, 2] < self.shuffle, choice[:, 3] < self.nonlinear, paint & inner, paint & ~inner)
        flipped, shuffled, mapped, inner, outer = (chosen.nonzero()[:, 0] for chosen in which)
        more = (more < ANOTHER).cumprod(1)
        size, place = size.unflatten(1, (BOXES, 3)), place.unflatten(1, (BOXES, 3))
        return Parameters(
            flipped,
            axes[flipped],
            shuffled,
            draw_blocks(move(seeds[shuffled], device), spatial),
            mapped,
            control[mapped].unflatten(1, (2, 2)).float(),
            choice[mapped, 4] < self.decreasing,
            inner,
            _boxes(size[inner], place[inner], more[inner], spatial),
            noise(move(seeds[inner], device), _NOISE, shape),
            outer,
            _windows(size[outer], place[outer], more[outer], spatial),
            noise(move(seeds[outer], device), _NOISE, shape),
            self._masked(seeds, spatial) if self.mask > 0 else None,
        )

    def prepare_batch(
        self,
        batch: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Corrupt a batch of the cube store: what MONAI's engines accept as `prepare_batch`.

        Args:
            batch: "image" (B, C, H, W, D) and, where present, "seed" (B,) and the labels "modality" and "scale" (B,).
            device: where to corrupt and train.
            non_blocking: copy to the device without waiting (from pinned memory).
            kwargs: passed on to `Tensor.to` for the image.

        Returns:
            The corrupted cubes, and {"restoration": the target, "changed": where the two differ or a block is masked
            (bool), "modality": …, "scale": …} with the labels present.
        """
        cubes, seeds = cubes_and_seeds(batch, device, non_blocking, self.generator, **kwargs)
        corrupted, target = self(cubes, seeds)
        changed = corrupted != target
        if self.mask > 0:  # background that is masked is 0 already
            spatial = cubes.shape[2:]
            changed |= spread_blocks(move(self._masked(seeds, spatial), cubes.device), self.mask_side, spatial)
        labels = [name for name in ("modality", "scale") if name in batch]
        moved = {name: batch[name].to(device=device, non_blocking=non_blocking) for name in labels}
        return corrupted, {"restoration": target, "changed": changed, **moved}

    def _masked(self, seeds: Tensor, spatial: Sequence[int]) -> Tensor:
        """Draw the same number of masked blocks for each cube: seeds (B,) → (B, h, w, d) bool."""
        grid = [math.ceil(side / self.mask_side) for side in spatial]
        count = math.prod(grid)
        place = uniform(seeds, _MASK, count).argsort(1).argsort(1)  # of each block in a random order
        return (place < round(self.mask * count)).view(len(seeds), *grid)

    def _check_paintable(self, shape: tuple[int, ...]) -> None:
        """Reject cubes in which a box or a window with its margins does not fit."""
        least = 14 if self.inner < 1 else 8
        if self.paint > 0 and min(shape) < least:
            raise ValueError(f"cubes: painting needs sides of at least {least} voxels, found {shape}")


def _boxes(size: Tensor, place: Tensor, more: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Boxes with sides from a sixth to a third of the cube's, from uniform numbers (n, 5, 3), (n, 5, 3), (n, 5)."""
    side = torch.tensor(shape)
    return _place(_between(side // 6, side // 3, size), place, side) * more[..., None, None]


def _windows(size: Tensor, place: Tensor, more: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Windows with sides 3/7 to 4/7 of the cube's away from full, from uniform numbers (n, 5, 3), (n, 5, 3), (n, 5)."""
    side = torch.tensor(shape)
    there = torch.cat([torch.ones_like(more[:, :1]), more[:, :-1]], 1)
    return _place(side - _between(3 * side // 7, 4 * side // 7, size), place, side) * there[..., None, None]


def _place(size: Tensor, place: Tensor, side: Tensor) -> Tensor:
    """Corners of boxes of this size, uniform among those that keep the margin: (n, 5, 3) → (n, 5, 2, 3)."""
    start = _between(torch.full_like(size, MARGIN), side - size - MARGIN, place)
    return torch.stack([start, start + size], 2)


def _between(low: Tensor, high: Tensor, u: Tensor) -> Tensor:
    """Integers from low to high, both included, from uniform numbers in [0, 1)."""
    return low + (u * (high - low + 1)).long()
