# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

import pytest
import torch

from universal_model_components.method.models import ClassificationModel, SegmentationModel
from universal_model_components.tasks.settings import CHOICES
from universal_model_components.training.loss_record import learning_rates
from universal_model_components.training.schedules import (
    SCHEDULES,
    FineTuningSchedule,
    fine_tuning_groups,
    schedule_factor,
)

FEATURES = [4, 8]
SHARES = {"head": 0.4, "warmup": 0.2}
RATES = {"loaded": 0.0003, "new": 0.003}


@pytest.mark.parametrize(
    ("schedule", "group", "factors"),
    [  # after 0, 0.1, 0.2, … 0.9 of the steps, and beyond
        ["constant", None, [1.0] * 11],
        ["warmup", None, [0, 0.5, 1, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381, 0]],
        ["sawtooth", "new", [0, 0.5, 1, 0.5, 0, 0.5, 1, 0.8536, 0.5, 0.1464, 0]],
        ["sawtooth", "decoder", [0, 0.5, 1, 0.5, 0, 0.5, 1, 0.8536, 0.5, 0.1464, 0]],
        ["sawtooth", "encoder", [0, 0, 0, 0, 0, 0.5, 1, 0.8536, 0.5, 0.1464, 0]],
    ],
)
def test_factors(schedule, group, factors):
    found = [schedule_factor(schedule, SHARES, step / 10, group) for step in range(11)]
    assert found == pytest.approx(factors, abs=1e-4)
    assert schedule_factor(schedule, SHARES, 2.0, group) == found[-1]


@pytest.mark.parametrize("schedule", ["warmup", "sawtooth"])
def test_without_shares_there_is_only_the_decay(schedule):
    factors = [schedule_factor(schedule, {"head": 0, "warmup": 0}, step / 4, "encoder") for step in range(5)]
    assert factors == pytest.approx([1, 0.8536, 0.5, 0.1464, 0], abs=1e-4)


def test_the_checks_know_the_schedules():
    assert CHOICES["schedule"] == SCHEDULES


@pytest.mark.parametrize(
    ("network", "arguments", "groups"),
    [
        [SegmentationModel, {"learning_rate": 0.001}, {None: 0.001}],
        [SegmentationModel, {"learning_rate": 0.001, "pretrained_weights": "a.pt"}, {None: 0.001}],
        [SegmentationModel, {"learning_rate": RATES}, {"new": 0.003}],
        [SegmentationModel, {"learning_rate": RATES, "pretrained_weights": "null"}, {"new": 0.003}],
        [
            SegmentationModel,
            {"learning_rate": RATES, "pretrained_weights": "a.pt"},
            {"encoder": 0.0003, "decoder": 0.0003, "new": 0.003},
        ],
        [
            SegmentationModel,
            {"learning_rate": RATES, "pretrained_weights": "a.pt", "transfer": "encoder"},
            {"encoder": 0.0003, "new": 0.003},
        ],
        [
            ClassificationModel,
            {"learning_rate": 0.01, "pretrained_weights": "a.pt", "transfer": "encoder", "schedule": "sawtooth"},
            {"encoder": 0.01, "new": 0.01},
        ],
        [SegmentationModel, {"learning_rate": 0.01, "schedule": "sawtooth"}, {"new": 0.01}],
    ],
)
def test_groups(network, arguments, groups):
    network = network(features=FEATURES)
    made = fine_tuning_groups(network, **arguments)
    assert {group.get("name"): group["lr"] for group in made} == groups
    parameters = [parameter for group in made for parameter in group["params"]]
    assert {id(parameter) for parameter in parameters} == {id(parameter) for parameter in network.parameters()}
    assert len(parameters) == len(list(network.parameters()))


def test_what_is_in_a_group_follows_from_its_name():
    network = SegmentationModel(features=FEATURES)
    groups = fine_tuning_groups(network, RATES, "a.pt", "encoder+decoder")
    ids = {group["name"]: {id(parameter) for parameter in group["params"]} for group in groups}
    assert ids["encoder"] == {id(parameter) for parameter in network.encoder.parameters()}
    assert ids["new"] == {id(parameter) for parameter in network.decoder.head.parameters()}


@pytest.mark.parametrize("rate", [{"loaded": 0.1}, {"loaded": 0.1, "new": 0.1, "head": 0.1}, {"unet": 1.0}])
def test_a_rate_that_is_missing_or_unknown_is_named(rate):
    with pytest.raises(ValueError, match=r"^learning_rate: .* is not a number, or one for each of 'loaded' and 'new'"):
        fine_tuning_groups(SegmentationModel(features=FEATURES), rate)


def test_an_unknown_schedule_is_named():
    optimizer = torch.optim.Adam(SegmentationModel(features=FEATURES).parameters())
    with pytest.raises(ValueError, match=r"^schedule: 'cosine' is not one of"):
        FineTuningSchedule(optimizer, "cosine", SHARES, 10)


def train(network, optimizer, schedule, steps):
    """Take steps on noise, and return the rates that each was taken with."""
    taken = []
    for _ in range(steps):
        taken.append(learning_rates(optimizer))
        optimizer.zero_grad()
        network(torch.randn(2, 1, 4, 4, 4)).square().mean().backward()
        optimizer.step()
        schedule.step()
    return taken


def test_while_frozen_the_encoder_stays_bit_for_bit():
    network = SegmentationModel(features=FEATURES)
    start = copy.deepcopy(network)
    optimizer = torch.optim.Adam(fine_tuning_groups(network, 0.01, "a.pt", "encoder+decoder", "sawtooth"))
    schedule = FineTuningSchedule(optimizer, "sawtooth", SHARES, 10)
    taken = train(network, optimizer, schedule, 4)
    pairs = list(zip(network.named_parameters(), start.parameters(), strict=True))
    same = {name for (name, now), before in pairs if torch.equal(now, before)}
    assert same == {name for name, _ in network.named_parameters() if name.startswith("encoder.")}
    assert [rates["lr_encoder"] for rates in taken] == [0.0] * 4
    assert [rates["lr_new"] for rates in taken] == pytest.approx([0.0025, 0.0075, 0.0075, 0.0025])
    train(network, optimizer, schedule, 1)
    assert not any(torch.equal(now, before) for (name, now), before in pairs if name.endswith("0.weight"))


def test_the_constant_schedule_leaves_every_rate_as_it_is():
    network = SegmentationModel(features=FEATURES)
    optimizer = torch.optim.Adam(fine_tuning_groups(network, 0.001))
    taken = train(network, optimizer, FineTuningSchedule(optimizer, "constant", SHARES, 2), 5)
    assert taken == [{"lr": 0.001}] * 5


def test_what_a_resumed_run_must_share():
    network = SegmentationModel(features=FEATURES)
    constant = FineTuningSchedule(torch.optim.Adam(fine_tuning_groups(network, 0.1)), "constant", SHARES, 3)
    assert constant.settings == {"name": "constant", "groups": [None]}
    named = torch.optim.Adam(fine_tuning_groups(network, RATES, "a.pt", "encoder"))
    expected = {"name": "warmup", "shares": SHARES, "steps": 3, "groups": ["encoder", "new"]}
    assert FineTuningSchedule(named, "warmup", SHARES, 3).settings == expected
