# SPDX-License-Identifier: Apache-2.0
"""What the method adds to a training step: corruption, D, S, their losses and updates, over the bare U-Net's step.

    python benchmarks/pretraining_step.py [--rounds 2] [--batch_size 6] [--widths full narrow] [--device cpu]
        [--patch_size 64 64 32] [--channels_last] [--compile] [--nondeterministic]

Both sides take the same cubes, 64×64×32 unless told otherwise, as training does by default: with algorithms of cuDNN
that give the same result each time (`--nondeterministic`: the fastest ones), in bfloat16 on a GPU. Bare: forward, mean
squared error of the sigmoid, backward and SGD step of the U-Net alone. Ours: `PretrainingTrainer` with everything on.
They take turns, and the median of each is compared. At full width a step takes most of a minute on two CPU cores.
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
from universal_model_components.training.run import place_network

WIDTHS = {"full": [64, 128, 256, 512], "half": [32, 64, 128, 256], "narrow": [8, 16, 32, 64]}
RATES = {"unet": 1e-2, "scale_classifier": 1e-2, "discriminator": 1e-3}


def smooth_cubes(count: int, shape: list[int]) -> torch.Tensor:
    coarse = torch.rand(count, 1, 8, 8, 4)
    return nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=False)


def bare_step(features: list[int], cubes: torch.Tensor, amp: bool, **placed: bool) -> Callable[[], None]:
    network = place_network(UNet(features=features), cubes.device, **placed)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(cubes.device.type, dtype=torch.bfloat16, enabled=amp):
            logits = network(cubes)
        restoration_loss(logits, cubes).backward()
        optimizer.step()

    return step


def full_step(features: list[int], cubes: torch.Tensor, amp: bool, **placed: bool) -> Callable[[], None]:
    model = UniversalModel(features=features, outputs="all")
    network = place_network(model, cubes.device, **placed)
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
        optimizer=torch.optim.SGD(parameter_groups(model, RATES), momentum=0.9),
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=6)
    parser.add_argument("--widths", nargs="+", default=list(WIDTHS), choices=list(WIDTHS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--patch_size", nargs=3, type=int, default=[64, 64, 32])
    for option in ("channels_last", "compile", "nondeterministic"):
        parser.add_argument(f"--{option}", action="store_true")
    options = parser.parse_args()
    device = torch.device(options.device)
    amp = device.type == "cuda"
    placed = {"channels_last": options.channels_last, "compile": options.compile}
    torch.backends.cudnn.deterministic = not options.nondeterministic
    torch.backends.cudnn.benchmark = options.nondeterministic
    print(
        f"{device}, {torch.get_num_threads()} threads, batch {options.batch_size} of {options.patch_size}, bf16 {amp},"
        f" {placed}, deterministic {not options.nondeterministic}"
    )
    for name in options.widths:
        torch.manual_seed(0)
        cubes = smooth_cubes(options.batch_size, options.patch_size).to(device)
        bare, full = (make(WIDTHS[name], cubes, amp, **placed) for make in (bare_step, full_step))
        for _ in range(3 if device.type == "cuda" or options.compile else 1):
            seconds(bare, device), seconds(full, device)  # warm up
        pairs = [(seconds(bare, device), seconds(full, device)) for _ in range(options.rounds)]
        one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{name:6s} {WIDTHS[name]}: bare {one:.4f} s, everything {other:.4f} s, ratio {other / one:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
