# SPDX-License-Identifier: Apache-2.0
"""What the method adds to a training step: corruption, D, S, their losses and updates, over the bare U-Net's step.

    python benchmarks/pretraining_step.py [--rounds 2] [--batch_size 6] [--widths full narrow] [--device cpu]

Both sides take the same stored-size cubes (64×64×32). Bare: forward, mean squared error of the sigmoid, backward and
SGD step of the U-Net alone. Ours: `PretrainingTrainer` with everything on. They take turns, and the
median of each is compared. At full width a step takes most of a minute on two CPU cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from universal_model_components.method.genesis import GenesisCorruption
from universal_model_components.method.losses import UniversalObjective, restoration_loss
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.trainer import PretrainingTrainer, parameter_groups
from universal_model_components.method.unet import UNet

WIDTHS = {"full": [64, 128, 256, 512], "half": [32, 64, 128, 256], "narrow": [8, 16, 32, 64]}
RATES = {"unet": 1e-2, "scale_classifier": 1e-2, "discriminator": 1e-3}


def smooth_cubes(count: int) -> torch.Tensor:
    coarse = torch.rand(count, 1, 8, 8, 4)
    return nn.functional.interpolate(coarse, size=(64, 64, 32), mode="trilinear", align_corners=False)


def bare_step(features: list[int], cubes: torch.Tensor, amp: bool) -> Callable[[], None]:
    network = UNet(features=features).to(cubes.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(cubes.device.type, dtype=torch.bfloat16, enabled=amp):
            logits = network(cubes)
        restoration_loss(logits, cubes).backward()
        optimizer.step()

    return step


def full_step(features: list[int], cubes: torch.Tensor, amp: bool) -> Callable[[], None]:
    network = UniversalModel(features=features, outputs="all").to(cubes.device)
    count = len(cubes)
    batch = {
        "image": cubes,
        "modality": torch.arange(count) % 2,
        "scale": torch.arange(count) % 3,
        "seed": torch.arange(count),
    }
    trainer = PretrainingTrainer(
        device=cubes.device,
        max_epochs=10**6,
        train_data_loader=[batch],
        network=network,
        optimizer=torch.optim.SGD(parameter_groups(network, RATES), momentum=0.9),
        loss_function=UniversalObjective(),
        prepare_batch=GenesisCorruption().prepare_batch,
        amp=amp,
    )

    def step() -> None:
        batch["seed"] += count  # a new corruption each time
        trainer.state.iteration += 1
        trainer._iteration(trainer, batch)

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=6)
    parser.add_argument("--widths", nargs="+", default=list(WIDTHS), choices=list(WIDTHS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    amp = device.type == "cuda"
    print(f"{device}, {torch.get_num_threads()} threads, batch {options.batch_size}, bf16 {amp}")
    for name in options.widths:
        torch.manual_seed(0)
        cubes = smooth_cubes(options.batch_size).to(device)
        bare, full = bare_step(WIDTHS[name], cubes, amp), full_step(WIDTHS[name], cubes, amp)
        seconds(bare, device), seconds(full, device)  # warm up
        pairs = [(seconds(bare, device), seconds(full, device)) for _ in range(options.rounds)]
        one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{name:6s} {WIDTHS[name]}: bare {one:.3f} s, everything {other:.3f} s, ratio {other / one:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
