# SPDX-License-Identifier: Apache-2.0
"""Alarms of a pre-training's validations."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from universal_model_components.training.alarms import PretrainingAlarm

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
