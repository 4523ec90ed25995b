# SPDX-License-Identifier: Apache-2.0
"""Corrupted cubes per second, against a plain NumPy loop over cubes and blocks with the same parameters.

    python benchmarks/corruptions.py [--batch 16] [--repeats 7]

The loop gets its parameters drawn beforehand, as lists and arrays ready to use, and corrupts one cube at a time: a
slice, a permutation and an assignment for each block, `np.interp` for the curve, slices for the boxes. Both sides give
the same cubes, which is checked. Times are the best of several runs, taken in turn: processor time with one thread, so
that other processes disturb it little, and elapsed time with two (the loop has one in either case).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from universal_model_components.method.combination import Parameters, corrupt
from universal_model_components.method.corruptions import MAP_POINTS, tabulate_curves
from universal_model_components.method.genesis import CPU_GROUP, GenesisCorruption, draw_seeds
from universal_model_components.method.local_shuffling import Blocks, block_orders
from universal_model_components.method.unet import UNet

SHAPE = (1, 64, 64, 32)


class CubeParameters(NamedTuple):
    """One cube's corruption as the loop wants it: a list of blocks, each with its permutation, and so on."""

    axes: tuple[int, ...]
    blocks: list[tuple[tuple[slice, slice, slice], tuple[int, int, int], np.ndarray]]
    curve: np.ndarray | None
    boxes: list[tuple[slice, slice, slice]]
    windows: list[tuple[slice, slice, slice]]
    noise: np.ndarray | None


def numpy_loop(cubes: list[np.ndarray], parameters: list[CubeParameters]) -> list[np.ndarray]:
    """Corrupt cubes one at a time, block by block."""
    return [corrupt_cube(cube, p) for cube, p in zip(cubes, parameters, strict=True)]


def corrupt_cube(cube: np.ndarray, p: CubeParameters) -> np.ndarray:
    original = np.flip(cube, p.axes) if p.axes else cube
    out = original.copy()
    for place, sides, order in p.blocks:
        out[place] = original[place].ravel()[order].reshape(sides)
    if p.curve is not None:
        out = np.interp(out, GRID, p.curve).astype(np.float32)
    if p.boxes:
        for box in p.boxes:
            out[box] = p.noise[box]
    elif p.windows:
        painted = p.noise.copy()
        for window in p.windows:
            painted[window] = out[window]
        out = painted
    return out


GRID = np.linspace(0, 1, MAP_POINTS)


def per_cube(p: Parameters, count: int) -> list[CubeParameters]:
    """Take a batch's parameters apart into the loop's."""
    axes = {s: tuple(np.flatnonzero(row)) for s, row in zip(p.flipped.tolist(), p.axes.numpy(), strict=True)}
    blocks = {s: cube_blocks(p.blocks, i) for i, s in enumerate(p.shuffled.tolist())}
    curves = dict(zip(p.mapped.tolist(), tabulate_curves(p.control, p.decreasing).numpy(), strict=True))
    boxes = {s: slices(p.boxes[i]) for i, s in enumerate(p.inner.tolist())}
    windows = {s: slices(p.windows[i]) for i, s in enumerate(p.outer.tolist())}
    noise = dict(zip(p.inner.tolist(), p.inner_noise[:, 0].numpy(), strict=True))
    noise |= dict(zip(p.outer.tolist(), p.outer_noise[:, 0].numpy(), strict=True))
    return [
        CubeParameters(
            axes.get(s, ()), blocks.get(s, []), curves.get(s), boxes.get(s, []), windows.get(s, []), noise.get(s)
        )
        for s in range(count)
    ]


def cube_blocks(
    blocks: Blocks, sample: int
) -> list[tuple[tuple[slice, slice, slice], tuple[int, int, int], np.ndarray]]:
    starts, sides = blocks.starts[sample].T.tolist(), blocks.sides[sample].T.tolist()
    orders = [order.numpy() for order in block_orders(blocks, sample, SHAPE[1:])]
    return [
        (tuple(slice(a, a + n) for a, n in zip(start, side, strict=True)), tuple(side), order)
        for start, side, order in zip(starts, sides, orders, strict=True)
    ]


def slices(boxes: Tensor) -> list[tuple[slice, slice, slice]]:
    corners = [(low, high) for low, high in boxes.tolist() if low != high]
    return [tuple(slice(a, b) for a, b in zip(low, high, strict=True)) for low, high in corners]


def smooth_cubes(count: int, generator: torch.Generator) -> Tensor:
    """Cubes somewhat like scans: smooth shapes, a little noise, some air."""
    coarse = torch.rand(count, 1, 8, 8, 4, generator=generator)
    cubes = torch.nn.functional.interpolate(coarse, SHAPE[1:], mode="trilinear")
    noise = 0.02 * torch.randn(cubes.shape, generator=generator)
    return (1.6 * (cubes - 0.3) + noise).clamp(0, 1)


def best(functions: list[Callable[[], object]], repeats: int, clock: Callable[[], float]) -> list[float]:
    """Best time in seconds of each function, the functions taken in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, found in zip(functions, times, strict=True):
            begin = clock()
            function()
            found.append(clock() - begin)
    return [min(found) for found in times]


def measure_cuda(batch: int, repeats: int) -> None:
    """Print milliseconds for a batch on a CUDA device, and their share of the full-width U-Net's bf16 training step."""
    corruption = GenesisCorruption()
    cubes, seeds = torch.rand(batch, *SHAPE, device="cuda"), torch.arange(batch)
    model = UNet().cuda()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def timed(function: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            function()
            torch.cuda.synchronize()

        return run

    @torch.enable_grad()
    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            restored = model(cubes).sigmoid()
        torch.nn.functional.mse_loss(restored.float(), cubes).backward()
        optimizer.step()
        optimizer.zero_grad()

    for function in (step, lambda: corruption(cubes, seeds)):  # tables, cuDNN's plans
        timed(function)()
    taken = best([timed(step), timed(lambda: corruption(cubes, seeds))], repeats, time.perf_counter)
    print(
        f"{torch.cuda.get_device_name()}, batch {batch}: corruption {1e3 * taken[1]:.2f} ms, bf16 step"
        f" {1e3 * taken[0]:.2f} ms ({taken[1] / taken[0]:.1%} of the step)"
    )


def measure_cpu(batch: int, repeats: int, mixes: int = 4) -> None:
    """Print cubes per second of the loop and of this package, for several draws of the full mix."""
    generator = torch.Generator().manual_seed(0)
    corruption = GenesisCorruption()
    cubes = smooth_cubes(batch, generator)
    arrays = [cube[0].numpy() for cube in cubes]
    seeds = [draw_seeds(batch, generator) for _ in range(mixes)]
    parts = cubes.split(CPU_GROUP)  # the groups that GenesisCorruption makes itself
    drawn = [[corruption.draw(part, SHAPE) for part in s.split(CPU_GROUP)] for s in seeds]
    listed = [[lists for p, c in zip(groups, parts, strict=True) for lists in per_cube(p, len(c))] for groups in drawn]

    def apply_drawn() -> list[Tensor]:
        return [torch.cat([corrupt(c, p)[0] for c, p in zip(parts, groups, strict=True)]) for groups in drawn]

    error = 0.0
    for corrupted, lists in zip(apply_drawn(), listed, strict=True):
        ours, theirs = corrupted[:, 0].numpy(), np.stack(numpy_loop(arrays, lists))
        error = max(error, float(np.abs(ours - theirs).max()))
    assert error < 1e-4, f"the two sides differ by {error}"
    shuffled = sum(len(p.shuffled) for groups in drawn for p in groups) / (batch * mixes)
    print(
        f"full mix, batch {batch}, {mixes} draws ({shuffled:.0%} of the cubes shuffled); largest difference {error:.1e}"
    )
    torch.empty(2**23 - 2**18).fill_(0)  # freed at once: glibc then keeps memory, as after any step of training
    for threads, clock in ((1, time.process_time), (2, time.perf_counter)):
        torch.set_num_threads(threads)
        loop, apply, everything = best(
            [
                lambda: [numpy_loop(arrays, lists) for lists in listed],
                apply_drawn,
                lambda: [corruption(cubes, s) for s in seeds],
            ],
            repeats,
            clock,
        )
        count = batch * mixes
        rates = [
            f"{name} {count / t:5.0f} ({loop / t:.1f}x)" for name, t in (("apply", apply), ("with drawing", everything))
        ]
        print(f"{threads} thread(s), cubes/s: NumPy loop {count / loop:4.0f} | {rates[0]} | {rates[1]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with torch.no_grad():
        measure_cpu(arguments.batch, arguments.repeats)
        if torch.cuda.is_available():
            measure_cuda(6, arguments.repeats)
        else:
            print("no CUDA device: the share of a training step was not measured")
