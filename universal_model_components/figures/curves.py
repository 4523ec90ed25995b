# SPDX-License-Identifier: Apache-2.0
"""The curves of a running training, drawn anew after each epoch from the CSV file that `LossRecorder` writes."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Events

from .pictures import draw_metrics


def read_rows(file: str | Path) -> list[dict[str, float]]:
    """Read the rows of a `losses.csv`; empty cells are NaN."""
    with open(file, newline="", encoding="utf-8") as stream:
        return [{name: float(cell or math.nan) for name, cell in row.items()} for row in csv.DictReader(stream)]


class MetricCurves:
    """Ignite handler that draws loss and validation metrics against the epoch; attach it after the `LossRecorder`.

    Args:
        output_dir: where losses.csv is, and curves.png goes.
        metrics: columns to draw, such as ["val_iou", "val_dice"].
    """

    def __init__(self, output_dir: str, metrics: Sequence[str]) -> None:
        self.source, self.file = Path(output_dir) / "losses.csv", Path(output_dir) / "curves.png"
        self.metrics = list(metrics)

    def attach(self, engine: Any) -> None:
        """Draw after each of the trainer's epochs, on rank 0."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Draw what the file holds."""
        if self.source.is_file():
            draw_metrics(read_rows(self.source), self.metrics, self.file)
