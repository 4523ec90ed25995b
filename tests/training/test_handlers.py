# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import logging
import math

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import StatsHandler
from trainers import WIDTH, make_evaluator, make_trainer

from universal_model_components.method.models import UniversalModel
from universal_model_components.training.best_model import BestModel
from universal_model_components.training.handlers import EarlyStop, TrainingAlarm
from universal_model_components.training.loss_record import LossRecorder


def test_recorder_writes_the_mean_of_each_loss(tmp_path):
    recorder = LossRecorder(str(tmp_path / "run"))
    seen = []
    trainer = make_trainer(epochs=2, handlers=[recorder])
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.output[0]["loss_scale"]))
    trainer.run()
    rows = list(csv.DictReader((tmp_path / "run" / "losses.csv").open()))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6")]
    assert float(rows[0]["loss_scale"]) == pytest.approx(sum(seen[:3]) / 3)
    assert float(rows[1]["loss_scale"]) == pytest.approx(sum(seen[3:]) / 3)
    assert trainer.state.metrics["loss_scale"] == pytest.approx(sum(seen[3:]) / 3)
    assert float(rows[1]["lr_unet"]) == 0.1


def test_recorder_adds_the_validators_metrics(tmp_path):
    network = UniversalModel(features=WIDTH, outputs="all")
    validator = make_evaluator(network)
    recorder = LossRecorder(str(tmp_path), validator)
    trainer = make_trainer(network=network)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: validator.run(e.state.epoch))
    recorder.attach(trainer)
    trainer.run()
    row = next(csv.DictReader((tmp_path / "losses.csv").open()))
    assert float(row["val_restoration"]) == pytest.approx(validator.state.metrics["val_restoration"])


def test_recorder_leaves_out_metrics_of_an_earlier_epoch(tmp_path):
    network = UniversalModel(features=WIDTH, outputs="all")
    validator = make_evaluator(network)
    recorder = LossRecorder(str(tmp_path), validator)
    trainer = make_trainer(epochs=3, network=network)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda e: validator.run(e.state.epoch))
    recorder.attach(trainer)
    trainer.run()
    assert ["val_restoration" in row for row in recorder.rows] == [False, True, False]


def test_alarm_names_a_loss_that_is_not_finite(caplog):
    network = UniversalModel(features=WIDTH, outputs="all")
    with torch.no_grad():
        network.scale_classifier.output.bias[0] = math.nan
    trainer = make_trainer(network=network, handlers=[TrainingAlarm()])
    with pytest.raises(FloatingPointError, match=r"non-finite loss at step 1: .*loss_scale.*learning rates"):
        trainer.run()
    assert "non-finite loss at step 1" in caplog.text


@pytest.mark.parametrize("error", [ValueError("resume: other seed"), RuntimeError("a bug")])
def test_alarm_passes_an_error_on_before_pages_are_logged(error, caplog):
    trainer = make_trainer(handlers=[TrainingAlarm(), StatsHandler(name="training")])

    @trainer.on(Events.STARTED)
    def fail():
        raise error

    with pytest.raises(type(error), match=str(error)):
        trainer.run()
    assert not any(record.exc_info for record in caplog.records)


def test_best_model_passes_an_error_on_before_pages_are_logged(tmp_path, caplog):
    network = UniversalModel(features=WIDTH, outputs="all")
    best = BestModel(network, str(tmp_path / "model.pt"))
    evaluator = make_evaluator(network, [best, StatsHandler(name="validation")])

    @evaluator.on(Events.STARTED)
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator.run()
    assert not any(record.exc_info for record in caplog.records)


def test_alarm_names_a_collapse_once(caplog):
    network = UniversalModel(features=WIDTH, outputs="all")
    with torch.no_grad():
        network.decoder.head.weight.zero_()
    rates = {"unet": 0.0, "scale_classifier": 0.0, "discriminator": 0.0}
    trainer = make_trainer(epochs=4, network=network, rates=rates, handlers=[TrainingAlarm(patience=3)])
    with caplog.at_level(logging.WARNING):
        trainer.run()
    assert caplog.text.count("collapse at step 3") == caplog.text.count("collapse") == 1


def test_alarm_is_quiet_in_a_good_run(caplog):
    make_trainer(epochs=3, handlers=[TrainingAlarm(patience=3, tolerance=1e-4)]).run()
    assert "collapse" not in caplog.text


def test_best_model_keeps_the_best(tmp_path):
    network = UniversalModel(features=WIDTH, outputs="all")
    best = BestModel(network, str(tmp_path / "models"))
    validator = make_evaluator(network, [best])
    validator.run(1)
    first = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    with torch.no_grad():
        network.decoder.head.bias += 30  # everything white: worse
    validator.run(2)
    kept = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(first[name], kept[name]) for name in first)
    assert best.state_dict()["best_metric_epoch"] == 1
    UniversalModel(features=WIDTH).load_state_dict(kept, strict=True)


def test_early_stop(tmp_path):
    network = UniversalModel(features=WIDTH, outputs="all")
    validator = make_evaluator(network)
    trainer = make_trainer(epochs=9, network=network, rates={"unet": 0.0, "scale_classifier": 0, "discriminator": 0})
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda e: network.decoder.head.bias.data.add_(1))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: validator.run(e.state.epoch))
    stop = EarlyStop(validator, "val_restoration", patience=2)
    stop.attach(trainer)
    trainer.run()
    assert trainer.state.epoch < 9
    assert stop.state_dict()["counter"] == 2


@pytest.mark.parametrize(("after", "last"), [(0, 3), (4.5, 7)])
def test_epochs_that_do_not_count_and_a_metric_that_is_not_there(after, last):
    """Two values without a new best after the first that counts; without values a run goes on."""
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda e: e.state.metrics.update(score=1 - e.state.epoch / 10))
    for metric in ("score", "missing"):
        stop = EarlyStop(None, metric, patience=2, higher_is_better=True, after=after)
        stop.attach(engine)
    engine.run([0], 9)
    assert engine.state.epoch == last
    assert stop.state_dict()["counter"] == 0
