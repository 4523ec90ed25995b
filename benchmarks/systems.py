# SPDX-License-Identifier: Apache-2.0
"""What each system of Tables III and IV costs: parameters, seconds of a training step and of a forward pass, memory.

    python benchmarks/systems.py [--systems i3d_segmentation rotation] [--width full] [--batch_size 2] [--rounds 3]
                                 [--device cpu] [--output costs.csv]

Network, loss, optimizer and trainer are those of the bundles' train.json and its overlays, in the precision that they
set; only data, handlers and metrics are replaced. Cubes are random, and in memory. A step is one iteration of the
trainer: the corruption (or rotation, or jigsaw) of the batch, forward, loss, backward, optimizer, postprocessing. A
forward pass is the same network's, in evaluation mode, with all its outputs. Of both, the median after one warm-up.

Cubes are 64×64×32, but 64×64×64 for rotation, which needs equal sides. Jigsaw needs two cubes in a batch, for its
batch norms. "From scratch" and all variants of Models Genesis fine-tune the same network, `unet`; only the heads
differ in pre-training, from none (`genesis`) to both (`universal`).

Each system runs in a process of its own. Memory is what training and the forward pass add at most: on a CPU to the
resident memory of that process (Linux), on CUDA what PyTorch allocates.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from torch import nn

from universal_model_components.utils.files import write_text

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
CUBE = (64, 64, 32)
PRETRAINING = "universal_model_pretraining"
TASKS = {"segmentation": "left_atrium_ct_segmentation", "classification": "lung_nodule_ct_classification"}
FEATURES = {"features": [8, 16, 32, 64]}  # of our U-Net, at narrow width
COLUMNS = {
    "system": "system",
    "input": "batch",
    "parameters": "parameters",
    "encoder": "of the encoder",
    "step": "step, s",
    "forward": "forward, s",
    "memory": "memory, MiB",
}


@dataclass(frozen=True)
class System:
    """A system as its user would run it: a bundle, overlays of its train.json, and keys of the command line."""

    bundle: str
    overlays: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    narrow: dict[str, Any] = field(default_factory=lambda: FEATURES)
    cube: tuple[int, int, int] = CUBE
    least: int = 1  # cubes of a batch


def systems() -> dict[str, System]:
    found = {}
    for task, bundle in TASKS.items():
        found[f"unet_{task}"] = System(bundle)
        for name, width in (("i3d", 8), ("dense_vnet", 6), ("med3d", 8)):
            found[f"{name}_{task}"] = System(bundle, (f"systems/{name}",), narrow={"width": width})
        strided = System(bundle, ("systems/med3d",), {"dilated": False}, {"width": 8})
        found[f"med3d_strided_{task}"] = strided
    found["universal"] = System(PRETRAINING)
    found["genesis"] = System(PRETRAINING, settings={"mial": False, "scale_classifier": False})
    found["rotation"] = System(PRETRAINING, ("train_rotation",), cube=(64, 64, 64))
    found["jigsaw"] = System(PRETRAINING, ("train_jigsaw",), least=2)
    return found


SYSTEMS = systems()


def draw_batch(system: System, count: int, number: int) -> dict[str, torch.Tensor]:
    """Draw a batch as the loader of the bundle makes it; its number decides the seeds of the pretext tasks."""
    image = torch.rand(count, 1, *system.cube)
    places = torch.arange(count)
    if system.bundle == PRETRAINING:
        return {"image": image, "modality": places % 2, "scale": places % 3, "seed": places + number * count}
    if system.bundle == TASKS["segmentation"]:
        return {"image": image, "label": (torch.rand_like(image) < 0.5).float()}
    return {"image": image, "label": places % 2}


def make_trainer(
    system: System, width: str, device: str, batches: list[dict[str, torch.Tensor]]
) -> tuple[SupervisedTrainer, nn.Module]:
    """Build the bundle's own trainer on batches in memory; return it with its network."""
    configs = BUNDLES / system.bundle / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / f"{name}.json") for name in ("train", *system.overlays)])
    parser.update({**system.settings, **(system.narrow if width == "narrow" else {}), "device": device, "epochs": 1})
    trainer = {"train_data_loader": batches, "train_handlers": [], "key_train_metric": None}
    parser.update({f"train::trainer::{key}": value for key, value in trainer.items()})
    return parser.get_parsed_content("train::trainer"), parser.get_parsed_content("network_def")


def now(device: str) -> float:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def step_seconds(trainer: SupervisedTrainer, device: str) -> float:
    """Run the trainer; return the median of its iterations, without the first."""
    started, ended = [], []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: started.append(now(device)))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: ended.append(now(device)))
    trainer.run()
    return statistics.median(end - start for start, end in list(zip(started, ended, strict=True))[1:])


@torch.inference_mode()
def forward_seconds(network: nn.Module, image: torch.Tensor, rounds: int, device: str) -> float:
    """Return the median of the forward passes in evaluation mode, without the first."""
    network.eval()
    times = []
    for _ in range(rounds + 1):
        start = now(device)
        network(image)
        times.append(now(device) - start)
    return statistics.median(times[1:])


def memory(device: str, part: str) -> float:
    """Return the memory in use now (`part` "VmRSS") or at most so far ("VmHWM"), in MiB."""
    if torch.device(device).type == "cuda":
        read = torch.cuda.max_memory_allocated if part == "VmHWM" else torch.cuda.memory_allocated
        return read(device) / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{part}:"))


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def measure(name: str, width: str, batch_size: int, rounds: int, device: str) -> dict[str, Any]:
    """Measure a system in this process; return its row of the table."""
    torch.manual_seed(0)
    system = SYSTEMS[name]
    count = max(batch_size, system.least)
    batches = [draw_batch(system, count, number) for number in range(rounds + 1)]
    make_trainer(system, "narrow", "cpu", batches)  # imports what is imported on first use: no cost of the system
    before = memory(device, "VmRSS")
    trainer, network = make_trainer(system, width, device, batches)
    step = step_seconds(trainer, device)
    image, _ = trainer.prepare_batch(batches[0], trainer.state.device, False)
    forward = forward_seconds(network, image, rounds, device)
    return {
        "system": name,
        "input": "×".join(str(side) for side in (count, *system.cube)),
        "parameters": count_parameters(network),
        "encoder": count_parameters(network.encoder),
        "step": step,
        "forward": forward,
        "memory": memory(device, "VmHWM") - before,
    }


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure each system in a process of its own, one after another; those that do not fit are named and left out."""
    for name in options.systems:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            call = pool.submit(measure, name, options.width, options.batch_size, options.rounds, options.device)
            try:
                yield call.result()
            except (BrokenProcessPool, torch.OutOfMemoryError) as error:
                print(f"{name}: not measured, out of memory? ({error})".splitlines()[0], file=sys.stderr)


def formatted(value: Any) -> str:
    """Write counts with separators, other numbers with three significant digits."""
    if isinstance(value, float):
        return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"
    return f"{value:,}" if isinstance(value, int) else value


def write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(file, text.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument("--width", default="full", choices=["full", "narrow"])
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, help="a CSV for the same table")
    options = parser.parse_args()
    if options.rounds < 1 or options.batch_size < 1:
        parser.error("--rounds and --batch_size must be at least 1")
    cuda = torch.device(options.device).type == "cuda"
    place = torch.cuda.get_device_name(options.device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    cube = "×".join(map(str, CUBE))
    print(f"{place}, torch {torch.__version__}, {options.width} width, batch {options.batch_size}, cube {cube}\n")
    print(f"| {' | '.join(COLUMNS.values())} |\n| --- | --- |{' ---: |' * (len(COLUMNS) - 2)}", flush=True)
    rows = []
    for row in measured(options):
        rows.append(row)
        print(f"| {' | '.join(formatted(row[name]) for name in COLUMNS)} |", flush=True)
        if options.output is not None:
            write_csv(options.output, rows)


if __name__ == "__main__":
    main()
