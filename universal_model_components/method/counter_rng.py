# SPDX-License-Identifier: Apache-2.0
"""Random sampling as a pure function of (seed, stream, position), for a whole batch at once.

A `torch.Generator` produces one sequence, so a sample's numbers depend on the samples before it. Here every number is a
hash of its sample's seed, a stream (what the number is for) and its position: a sample gets the same numbers in
any batch, in any order and, because the hash is integer arithmetic, on any device. The mixing function is the
finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15 - (1 << 64)  # odd, 2^64 / golden ratio; int64 arithmetic wraps, as the hash requires
_FACTORS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))


def random_bits(seeds: Tensor, stream: int, count: int) -> Tensor:
    """64 random bits for each position of each sample.

    Args:
        seeds: one int64 seed for each sample; neighboring seeds give unrelated numbers.
        stream: what the numbers are for; streams of one seed are independent.
        count: numbers for each sample.

    Shape:
        seeds (B,) → (B, count) int64.

    Raises:
        ValueError: when the seeds are not a one-dimensional int64 tensor.
    """
    if seeds.ndim != 1 or seeds.dtype != torch.int64:
        raise ValueError(f"seeds: expected int64 of shape (B,), found {seeds.dtype} of shape {tuple(seeds.shape)}")
    state = _mix(_mix(seeds + _STEP) + stream)
    positions = torch.arange(1, count + 1, device=seeds.device) * _STEP
    return _mix(state[:, None] + positions)


def uniform(seeds: Tensor, stream: int, count: int) -> Tensor:
    """Uniform float64 numbers in [0, 1), with 53 random bits each; `seeds` (B,) → (B, count)."""
    return (random_bits(seeds, stream, count) >> 11 & (1 << 53) - 1) * 2.0**-53


def fields(seeds: Tensor, stream: int, words: int, count: int) -> Tensor:
    """Integers uniform in [0, 2^21), three from each random word; `seeds` (B,) → (B, 3 * words, count) int64."""
    bits = random_bits(seeds, stream, words * count).unflatten(1, (words, 1, count))
    shifts = 21 * torch.arange(3, device=seeds.device)[:, None]
    return ((bits >> shifts) & ((1 << 21) - 1)).flatten(1, 2)


def noise(seeds: Tensor, stream: int, shape: Sequence[int]) -> Tensor:
    """Uniform float32 noise k / 65536 in [0, 1), as fine as 16-bit scans; `seeds` (B,) → (B, *shape).

    Each 64-bit word serves four voxels, which reduces the cost of the hash to a quarter.
    """
    count = math.prod(shape)
    words = random_bits(seeds, stream, -(-count // 4)).view(torch.int16)
    return words[:, :count].float().mul_(2.0**-16).add_(0.5).view(len(seeds), *shape)


def _mix(words: Tensor) -> Tensor:
    """Scramble a fresh tensor of 64-bit words in place (shifts are logical, so the sign bits are masked away)."""
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        words ^= (words >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        words *= factor
    return words.bitwise_xor_((words >> 31).bitwise_and_((1 << 33) - 1))
