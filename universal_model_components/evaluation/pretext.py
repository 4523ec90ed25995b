# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a pretext task on cubes of held-out cases: how often its classes are told right, beside chance."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..utils.versions import versions
from ..weights.strict import load_weights
from .restoration_metrics import by
from .writing import write_evaluation

logger = logging.getLogger(__name__)

COLUMNS = ("case", "modality", "cubes", "accuracy", "cross_entropy")


@torch.no_grad()
def measure_classes(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    prepare_batch: Callable[..., tuple[Tensor, Mapping[str, Tensor]]],
    part: str,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """Measure every cube: whether its class was predicted, and the cross-entropy.

    Args:
        network: of the task, in evaluation mode, on the device.
        batches: of a `CubeDataset`; what is done to a cube is fixed by its seed.
        prepare_batch: of the task, (batch, device) → (input, targets).
        part: key of the logits and the targets.
        device: for the computation.

    Returns:
        One row for each cube: case, modality (label), correct, cross_entropy.

    Raises:
        FloatingPointError: when an output is not finite.
    """
    rows = []
    for batch in batches:
        image, targets = prepare_batch(batch, device)
        logits, target = network(image)[part].float(), targets[part]
        errors = functional.cross_entropy(logits, target, reduction="none").tolist()
        if not all(map(math.isfinite, errors)):
            raise FloatingPointError(f"{part}: outputs for cubes of {sorted(set(batch['case']))} are not finite")
        correct = (logits.argmax(1) == target).tolist()
        columns = zip(batch["case"], batch["modality"].tolist(), correct, errors, strict=True)
        rows += [dict(zip(("case", "modality", "correct", "cross_entropy"), row, strict=True)) for row in columns]
    return rows


class PretextEvaluation:
    """The evaluation of one model on one split; `run` writes evaluation.json, and evaluation.csv, a row for each case.

    Args:
        network: of the task; the weights are loaded into it strictly.
        weights: file of its plain state dict.
        dataset: cubes of held-out cases.
        task: with `prepare_batch`, `name` (key of its logits and targets) and `num_classes`.
        modalities: names of the modality labels.
        output_dir: folder for the files.
        device: for the computation.
        batch_size: cubes at a time.
        num_workers: processes that read cubes.
        split: name of the held-out split, for the report.
        recipe: of the cubes, see `weights.strict.check_weights`.

    Raises:
        OSError: on `run`, when the weights are missing, or a file cannot be read or written.
        ValueError: on `run`, when the weights do not fit.
        FloatingPointError: on `run`, when the model's output is not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: str,
        dataset: Dataset,
        task: Any,
        modalities: Sequence[str],
        output_dir: str,
        device: torch.device | str = "cpu",
        batch_size: int = 6,
        num_workers: int = 0,
        split: str = "validation",
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.weights, self.dataset, self.task = network, weights, dataset, task
        self.modalities, self.output_dir, self.device = list(modalities), Path(output_dir), torch.device(device)
        self.batch_size, self.num_workers = int(batch_size), int(num_workers)
        self.split, self.recipe = split, recipe

    def run(self) -> dict[str, Any]:
        """Evaluate, write the files, and return what evaluation.json holds."""
        started = time.monotonic()
        load_weights(self.network, self.weights, self.recipe).to(self.device).eval()
        loader = DataLoader(self.dataset, self.batch_size, num_workers=self.num_workers)
        bar = tqdm(loader, desc="evaluation", unit="batch")
        rows = measure_classes(self.network, bar, self.task.prepare_batch, self.task.name, self.device)
        table = self._by_case(rows)
        report = {
            "split": self.split,
            "task": self.task.name,
            "cubes": len(rows),
            "cases": sorted(row["case"] for row in table),
            "weights": str(self.weights),
            **_means(rows),
            "chance": 1 / self.task.num_classes,
            "seconds": round(time.monotonic() - started, 1),
            "versions": versions(),
        }
        write_evaluation(self.output_dir, COLUMNS, table, report)
        logger.info(
            "evaluation of %s in %s: %s accuracy %.3f of %d cubes (chance %.3f), cross-entropy %.3f",
            *(self.weights, self.output_dir, self.task.name, report["accuracy"], len(rows)),
            *(report["chance"], report["cross_entropy"]),
        )
        return report

    def _by_case(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Average the cubes of each case."""
        return [
            {"case": case, "modality": self.modalities[modality], "cubes": len(part), **_means(part)}
            for (case, modality), part in by(rows, "case", "modality").items()
        ]


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {
        "accuracy": float(np.mean([row["correct"] for row in rows])),
        "cross_entropy": float(np.mean([row["cross_entropy"] for row in rows])),
    }
