# SPDX-License-Identifier: Apache-2.0
"""The record of a training run's losses: a row of losses.csv per epoch."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events

from ..utils.files import write_text


def loss_values(output: Any) -> dict[str, float]:
    """Return "loss" and every "loss_<part>" of a trainer's output, decollated or not, as numbers."""
    values = output[0] if isinstance(output, (list, tuple)) else output
    return {str(name): float(value) for name, value in values.items() if name.startswith("loss")}  # MONAI: enums


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the rate of each parameter group: "lr_<name>", or "lr" for groups without a name."""
    groups = optimizer.param_groups
    return {f"lr_{group['name']}" if "name" in group else "lr": float(group["lr"]) for group in groups}


def _over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    ranks = idist.get_world_size()
    return {name: float(idist.all_reduce(value)) / ranks for name, value in values.items()}


class LossRecorder:
    """Write the mean of each loss over an epoch to `engine.state.metrics`, for trackers, and to a row of a CSV file.

    A trainer's own metrics, where it has any, are columns too.

    Attach it to the trainer after the validation handler, so that the row has the epoch's validation metrics.

    Args:
        output_dir: where losses.csv goes; columns epoch, step, seconds, lr or lr_<part>, loss, loss_<part>, and both
            engines' metrics.
        validator: the engine whose metrics are added, or None.
    """

    def __init__(self, output_dir: str, validator: Any = None) -> None:
        self.file = Path(output_dir) / "losses.csv"
        self.validator = validator
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.batches = 0
        self.started = time.monotonic()

    def attach(self, engine: Any) -> None:
        """Record every iteration and every epoch of `engine`."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far and the running epoch's sums, averaged over the ranks; all ranks must call it."""
        return {"rows": self.rows, "sums": _over_ranks(self.sums), "batches": self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.rows, self.sums, self.batches = list(state["rows"]), dict(state["sums"]), int(state["batches"])

    def _start(self) -> None:
        self.started = time.monotonic()

    def _add(self, engine: Any) -> None:
        for name, value in loss_values(engine.state.output).items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batches += 1

    def _finish(self, engine: Any) -> None:
        means = _over_ranks({name: total / self.batches for name, total in self.sums.items()})
        engine.state.metrics.update(means)
        row = {"epoch": engine.state.epoch, "step": engine.state.iteration, "seconds": time.monotonic() - self.started}
        row |= learning_rates(engine.optimizer)
        row |= {name: float(value) for name, value in engine.state.metrics.items()}  # the means are among them
        if self.validator is not None and self.validator.state.epoch == engine.state.epoch:
            row |= {name: float(value) for name, value in self.validator.state.metrics.items()}
        self.rows.append(row)
        self.sums, self.batches = {}, 0
        if idist.get_rank() == 0:
            self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.file, text.getvalue())
