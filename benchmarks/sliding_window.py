# SPDX-License-Identifier: Apache-2.0
"""Sliding-window inference of a whole volume: what each part of `FastSlidingWindowInferer` brings, in one run.

    python benchmarks/sliding_window.py [--width narrow] [--volume 256 256 160] [--rounds 3] [--threads 2] [--compile]

The baseline is MONAI's `SlidingWindowInferer` with its defaults (one window at a time) in eager float32. Every line has
the same trained network, windows (64×64×32), overlap (0.25) and Gaussian blending. The parts are added one after the
other; the variants take turns, and the least of several times counts, because other work on the machine can only add
to a time. The mask must stay the same: Dice with the baseline's mask.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceLoss
from monai.metrics import compute_iou
from torch import Tensor, nn

from universal_model_components.inference.sliding_window import FastSlidingWindowInferer
from universal_model_components.method.models import SegmentationModel

WIDTHS = {"narrow": [8, 16, 32, 64], "half": [32, 64, 128, 256], "full": [64, 128, 256, 512]}
WINDOWS = {"roi_size": (64, 64, 32), "overlap": 0.25, "mode": "gaussian"}
NOTHING = {"fold": False, "merge": False, "channels_last": False}
VARIANTS = {
    "MONAI's defaults": None,
    "+ windows in batches of 4": NOTHING,
    "+ batch norm folded": NOTHING | {"fold": True},
    "+ channels-last": NOTHING | {"fold": True, "channels_last": True},
    "+ up-convolution merged (all)": {},
}


def scan(shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Smooth tissue with bright blobs under noise, and the mask of the blobs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, *(side // 8 for side in shape), generator=generator)
    smooth = nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=False)
    mask = (smooth > 0.6).float()
    image = 0.3 + 0.2 * mask + 0.05 * smooth + 0.15 * torch.randn(smooth.shape, generator=generator)
    return image.clamp(0, 1), mask


def trained(features: list[int], steps: int) -> nn.Module:
    torch.manual_seed(0)
    network, loss = SegmentationModel(features=features), DiceLoss(sigmoid=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(steps):
        image, mask = (
            torch.cat(part) for part in zip(*(scan((32, 32, 32), 2 * step + i) for i in range(2)), strict=True)
        )
        optimizer.zero_grad()
        value = loss(network(image), mask)
        value.backward()
        optimizer.step()
    print(f"trained {steps} steps, Dice loss {value.item():.3f}", flush=True)
    return network.eval()


def measure(run: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    wall, cpu = time.perf_counter(), time.process_time()
    logits = run()
    return time.perf_counter() - wall, time.process_time() - cpu, logits > 0


@torch.no_grad()
def compare(network: nn.Module, volume: Tensor, truth: Tensor, rounds: int, compiled: bool) -> None:
    variants: dict = {**VARIANTS, **({"+ torch.compile": {"compile": True}} if compiled else {})}
    plain = SlidingWindowInferer(**WINDOWS)
    inferers = {name: plain if s is None else FastSlidingWindowInferer(**WINDOWS, **s) for name, s in variants.items()}
    for name, inferer in inferers.items():  # prepares, and compiles
        start = time.perf_counter()
        inferer(volume[..., :64, :64, :64], network)
        print(f"{name}: ready after {time.perf_counter() - start:.1f} s", flush=True)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in inferers}
    masks: dict[str, Tensor] = {}
    for number in range(rounds):
        for name, inferer in inferers.items():
            wall, cpu, masks[name] = measure(lambda inferer=inferer: inferer(volume, network))
            times[name].append((wall, cpu))
            print(f"round {number + 1}: {name:32s} {wall:8.2f} s wall {cpu:8.2f} s CPU", flush=True)
    first = next(iter(inferers))
    print(
        f"\nDice of the baseline's mask with the truth {dice(masks[first], truth > 0.5):.3f}; least of {rounds} rounds:"
    )
    least = {name: [min(column) for column in zip(*values, strict=True)] for name, values in times.items()}
    for name, (wall, cpu) in least.items():
        ratios = f"{least[first][0] / wall:5.2f}x wall {least[first][1] / cpu:5.2f}x CPU"
        print(f"{name:32s} {wall:8.2f} s wall {cpu:8.2f} s CPU  {ratios}  Dice {dice(masks[name], masks[first]):.6f}")


def dice(one: Tensor, other: Tensor) -> float:
    iou = float(compute_iou(one, other))
    return 2 * iou / (1 + iou)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", default="narrow", choices=list(WIDTHS))
    parser.add_argument("--volume", nargs=3, type=int, default=[256, 256, 160])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--compile", action="store_true", help="also torch.compile; needs a C++ compiler")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"width {WIDTHS[options.width]}, volume {options.volume}, {options.threads} threads, torch {torch.__version__}"
    )
    network = trained(WIDTHS[options.width], options.steps)
    volume, truth = scan(tuple(options.volume), 10**6)
    compare(network, volume, truth, options.rounds, options.compile)


if __name__ == "__main__":
    main()
