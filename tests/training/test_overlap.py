# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, MeanIoUHandler, from_engine
from torch import nn

from universal_model_components.training.best_model import BestModel
from universal_model_components.training.overlap import ForegroundDice, ForegroundIoU


def computed(handler, pairs):
    engine = Engine(lambda engine, pair: pair)
    handler.attach(engine, "overlap")
    engine.run(pairs)
    return engine.state.metrics["overlap"]


@pytest.mark.parametrize(("ours", "theirs"), [(ForegroundIoU, MeanIoUHandler), (ForegroundDice, MeanDice)])
def test_as_monai_where_defined_and_undefined_elsewhere(ours, theirs, generator):
    some = [(torch.rand(2, 1, 4, 4, 4, generator=generator).round(), torch.ones(2, 1, 4, 4, 4)) for _ in range(2)]
    empty = [(mask, torch.zeros_like(mask)) for mask, _ in some]
    assert computed(ours(), some) == computed(theirs(), some)
    assert computed(ours(), some + empty) == computed(theirs(), some + empty)
    assert math.isnan(computed(ours(), empty))
    assert math.isnan(ours().compute())


class Constant(nn.Module):
    """Predicts a number everywhere, the number of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        self.calls.data += 1
        return torch.zeros_like(image)


@pytest.mark.parametrize(("foreground", "best"), [(0.0, 3), (1.0, 1)])
def test_an_undefined_metric_chooses_no_model(foreground, best, tmp_path):
    """Of equal scores the first is the best; without a score the last model is kept."""
    network = Constant()
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": torch.ones(1, 1, 4, 4, 4), "label": torch.full((1, 1, 4, 4, 4), foreground)}],
        network=network,
        key_val_metric={"val_iou": ForegroundIoU(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[BestModel(network, str(tmp_path))],
    )
    for epoch in (1, 2, 3):
        evaluator.run(epoch)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["calls"].item() == best
    assert evaluator.state.best_metric_epoch == (best if foreground else -1)
