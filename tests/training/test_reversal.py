# SPDX-License-Identifier: Apache-2.0
"""The ramp of the gradient reversal: its values, at any step, and nothing where it is off."""

from __future__ import annotations

import math

import pytest
from ignite.engine import Events
from torch import nn
from trainers import WIDTH, make_trainer

from universal_model_components.method.models import UniversalModel
from universal_model_components.training.identity import describe
from universal_model_components.training.reversal import ReversalRamp, ramp


class Writer(dict):
    def add_scalar(self, name, value, step):
        self[name, step] = value


def values(share, epochs=4, first=0, reversal=0.5, writer=None):
    """The coefficient of each step of a training that begins after some epochs."""
    network = UniversalModel(features=WIDTH, outputs="all", reversal=reversal)
    trainer = make_trainer(epochs=epochs, network=network, handlers=[ReversalRamp(network, share, epochs, writer)])
    trainer.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", first))
    trainer.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "iteration", first * e.state.epoch_length))
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(network.reversal))
    trainer.run()
    return seen


@pytest.mark.parametrize(("progress", "share"), [[0, 0], [0.1, math.tanh(0.5)], [0.5, math.tanh(2.5)], [1, 1], [2, 1]])
def test_ramp(progress, share):
    assert ramp(progress) == pytest.approx(share)  # 2 / (1 + exp(-2 x)) - 1 is tanh x


def test_the_coefficient_rises_to_its_end_and_depends_on_the_step_alone():
    writer = Writer()
    found = values(0.5, writer=writer)  # 12 steps, 6 of them rise
    assert found == [pytest.approx(0.5 * math.tanh(5 * min(1, step / 6)), rel=1e-3) for step in range(12)]
    assert found[0] == 0
    assert found[6:] == [0.5] * 6
    assert found[3:] == values(0.5, first=1)
    assert writer == {("reversal", step + 1): value for step, value in enumerate(found)}


def test_without_a_ramp_the_coefficient_is_constant():
    assert values(0) == [0.5] * 12
    ReversalRamp(nn.Linear(1, 1), 0, 3)  # of a pretext task: it has no discriminator


def test_a_ramp_depends_on_the_length_of_the_run():
    network = UniversalModel(features=WIDTH)
    off, short, long = (describe(ReversalRamp(network, *given)) for given in [(0, 9), (0.5, 3), (0.5, 4)])
    assert off == {"class": "ReversalRamp", "share": 0.0, "epochs": 0}
    assert short != long
