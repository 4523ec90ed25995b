# SPDX-License-Identifier: Apache-2.0
"""Alarms of a pre-training's validations."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from universal_model_components.training.alarms import ChanceAlarm, PretrainingAlarm

GOOD = {
    "val_restoration": 0.01,
    "val_constant": 0.02,
    "val_corrupted": 0.1,
    "val_scale_classes": 3,
    "val_modality_classes": 2,
}


def validate(alarm, count=1, **metrics):
    for _ in range(count):
        alarm(SimpleNamespace(state=SimpleNamespace(metrics={**GOOD, **metrics})))


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({}, None),
        ({"val_restoration": 0.02}, "no better than the best constant for each cube, 0.0200 against 0.0200"),
        ({"val_scale_classes": 1}, "scale classifier predicts one class"),
        ({"val_modality_classes": 1}, "discriminator predicts one modality"),
    ],
)
def test_what_lasts_is_named_once_with_advice(metrics, said):
    lines: list[str] = []
    alarm = PretrainingAlarm(patience=3, warn=lines.append)
    validate(alarm, 2, **metrics)
    assert lines == []
    validate(alarm, 5, **metrics)
    assert len(lines) == (said is not None)
    assert said is None or (said in lines[0] and ("learning_rate" in lines[0] or "modern.json" in lines[0]))


def test_a_good_validation_in_between_starts_the_count_again():
    lines: list[str] = []
    alarm = PretrainingAlarm(patience=2, warn=lines.append)
    for value in (0.05, 0.01, 0.05, 0.01):
        validate(alarm, val_restoration=value)
    assert lines == []


def test_a_discriminator_that_was_beaten_later_is_no_fault():
    lines: list[str] = []
    alarm = PretrainingAlarm(patience=2, warn=lines.append)
    validate(alarm)
    validate(alarm, 4, val_modality_classes=1)
    assert lines == []


def test_parts_that_are_switched_off_give_no_alarm():
    lines: list[str] = []
    alarm = PretrainingAlarm(patience=1, warn=lines.append)
    metrics = {name: value for name, value in GOOD.items() if not name.endswith("classes")}
    alarm(SimpleNamespace(state=SimpleNamespace(metrics=metrics)))
    assert lines == []


def test_a_resumed_run_with_less_patience_says_it_once():
    lines: list[str] = []
    first = PretrainingAlarm(patience=10, warn=lines.append)
    validate(first, 5, val_scale_classes=1)
    second = PretrainingAlarm(patience=3, warn=lines.append)
    second.load_state_dict(first.state_dict())
    validate(second, 20, val_scale_classes=1)
    third = PretrainingAlarm(patience=3, warn=lines.append)
    third.load_state_dict(second.state_dict())
    validate(third, 5, val_scale_classes=1)
    assert len(lines) == 1
    chance = ChanceAlarm("accuracy", 10, patience=3, warn=lines.append)
    chance.load_state_dict({"count": 8})
    for _ in range(5):
        chance(SimpleNamespace(state=SimpleNamespace(metrics={"accuracy": 0.1})))
    assert len(lines) == 2


def test_one_class_among_the_cubes_is_no_fault_of_a_classifier():
    lines: list[str] = []
    validate(PretrainingAlarm(1, lines.append), 3, val_scale_classes=math.nan, val_modality_classes=math.nan)
    assert lines == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_restoration_that_is_not_finite_ends_the_run(value):
    with pytest.raises(FloatingPointError, match=f"val_restoration is {value}: give lower learning rates"):
        validate(PretrainingAlarm(), val_restoration=value)


def test_a_resumed_run_counts_on():
    lines: list[str] = []
    first = PretrainingAlarm(patience=3, warn=lines.append)
    validate(first, 2, val_scale_classes=1)
    second = PretrainingAlarm(patience=3, warn=lines.append)
    second.load_state_dict(first.state_dict())
    validate(second, 1, val_scale_classes=1)
    assert len(lines) == 1


def test_every_validation_is_one_line_beside_what_to_beat(caplog):
    with caplog.at_level("INFO"):
        validate(PretrainingAlarm())
    assert "restoration 0.0100; corrupted input 0.1000, best constant for each cube 0.0200" in caplog.text


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0.15, 0.19, 0.05, 0.1], 1),  # once, at the third
        ([0.15, 0.2, 0.15, 0.15], 0),
        ([0.9], 0),
    ],
)
def test_an_accuracy_near_chance_is_named_once(values, lines):
    said: list[str] = []
    alarm = ChanceAlarm("accuracy", num_classes=10, patience=3, warn=said.append)
    for number, value in enumerate(values):
        validate(alarm, accuracy=value)
        resumed = ChanceAlarm("accuracy", num_classes=10, patience=3, warn=said.append)
        resumed.load_state_dict(alarm.state_dict())
        alarm = resumed
        assert len(said) == (lines if number >= 2 else 0)
    assert all("is less than twice chance, 0.1000, for 3 validations" in line for line in said)


def test_no_patience_is_no_alarm_of_chance():
    said: list[str] = []
    validate(ChanceAlarm("accuracy", 10, patience=0, warn=said.append), 5, accuracy=0.0)
    assert said == []
