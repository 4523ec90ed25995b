# SPDX-License-Identifier: Apache-2.0
"""The model that training writes: models/model.pt, the same as safetensors, and the provenance of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Events
from torch import nn

from ..weights.provenance import complete, write_weights
from .run import pass_on_errors


def write_model(network: nn.Module, ckpt_dir: Path, provenance: Mapping[str, Any] | None, engine: Any) -> None:
    """Write a network's plain state dict, the same as safetensors, and their provenance, on rank 0 only."""
    if idist.get_rank() == 0:
        state = network.state_dict()
        numbers = {name: float(v) for name, v in engine.state.metrics.items() if getattr(v, "ndim", 0) == 0}
        metrics = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        passed = complete(provenance, state, epoch=int(engine.state.epoch), metrics=metrics)
        for name in ("model.pt", "model.safetensors"):
            write_weights(ckpt_dir / name, state, passed)


class BestModel:
    """Write the network's plain state dict whenever the validator's key metric is the best so far.

    Whether higher or lower is better is the validator's `metric_cmp_fn`. A metric that is undefined (NaN) chooses no
    model: until it is defined, the last epoch's is written.

    Args:
        network: what is written; not the wrapped or compiled one, so that names stay plain.
        ckpt_dir: where model.pt goes, which loads with `weights_only=True`, beside it model.safetensors and
            model.provenance.json.
        provenance: how these weights are trained; epoch, metrics, versions and hash are added.
    """

    def __init__(self, network: nn.Module, ckpt_dir: str, provenance: Mapping[str, Any] | None = None) -> None:
        self.network, self.ckpt_dir, self.provenance = network, Path(ckpt_dir), provenance
        self.validator: Any = None

    def attach(self, engine: Any) -> None:
        """Watch `engine`, a MONAI evaluator with a key metric; attach it before `StatsHandler`."""
        self.validator = engine
        pass_on_errors(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def state_dict(self) -> dict[str, Any]:
        """Return the best metric so far and its epoch, as the evaluator holds them."""
        state = self.validator.state
        return {"best_metric": float(state.best_metric), "best_metric_epoch": int(state.best_metric_epoch)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give the evaluator its best metric back."""
        for name, value in state.items():
            setattr(self.validator.state, name, value)

    def __call__(self, engine: Any) -> None:
        """Write the model when this epoch is the best one."""
        if engine.state.best_metric_epoch == engine.state.epoch:
            if math.isnan(float(engine.state.best_metric)):
                engine.state.best_metric_epoch = -1  # as before the first epoch: the next one is better
            write_model(self.network, self.ckpt_dir, self.provenance, engine)


class LastModel:
    """Write the network's plain state dict after every epoch, for a run without validation cases.

    Args:
        network: as for `BestModel`.
        ckpt_dir: as for `BestModel`.
        provenance: as for `BestModel`.
    """

    def __init__(self, network: nn.Module, ckpt_dir: str, provenance: Mapping[str, Any] | None = None) -> None:
        self.network, self.ckpt_dir, self.provenance = network, Path(ckpt_dir), provenance

    def attach(self, engine: Any) -> None:
        """Watch `engine`, a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the model."""
        write_model(self.network, self.ckpt_dir, self.provenance, engine)
