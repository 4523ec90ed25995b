# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import logging
import math

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Loss
from monai.engines import SupervisedEvaluator
from monai.handlers import StatsHandler
from torch.utils.data import DataLoader
from trainers import WIDTH, TensorCubes, add_noise, make_trainer

from universal_model_components.figures.panels import RestorationPanels
from universal_model_components.method.losses import restoration_loss
from universal_model_components.method.models import UniversalModel
from universal_model_components.training.best_model import BestModel
from universal_model_components.training.handlers import EarlyStop, TrainingAlarm
from universal_model_components.training.loss_record import LossRecorder
from universal_model_components.training.metrics import (
    at_least_as_good,
    logits_and_targets,
    lower_is_better,
    read_metric,
)


def make_evaluator(network, handlers=()):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(TensorCubes(6, seed=1), batch_size=4),
        network=network,
        prepare_batch=add_noise,
        key_val_metric={"val_restoration": Loss(restoration_loss, logits_and_targets("restoration"))},
        metric_cmp_fn=lower_is_better,
        val_handlers=list(handlers),
        decollate=False,
    )


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


def test_panels_are_drawn_when_due(tmp_path):
    drawn = []
    panels = RestorationPanels(str(tmp_path), 2, lambda *tensors_and_file: drawn.append(tensors_and_file))
    validator = make_evaluator(UniversalModel(features=WIDTH, outputs="all"), [panels])
    for epoch in (1, 2, 3, 4):
        validator.run(epoch)
    assert [call[3].name for call in drawn] == ["epoch_0002.png", "epoch_0004.png"]
    assert {call[3].parent for call in drawn} == {tmp_path / "panels"}
    original, corrupted, restored = drawn[0][:3]
    assert original.shape == corrupted.shape == restored.shape == (4, 1, 16, 16, 16)
    assert torch.equal(original, torch.stack([TensorCubes(6, seed=1)[i]["image"] for i in range(4)]))
    assert 0 <= restored.min() <= restored.max() <= 1


@pytest.mark.parametrize(("current", "best", "better"), [(0.4, 0.5, False), (0.5, 0.5, True), (0.6, 0.5, True)])
def test_of_equal_scores_the_later_wins(current, best, better):
    assert at_least_as_good(current, best) is better
    assert lower_is_better(current, best) is (current < best)


def test_a_metric_of_a_validator_is_read():
    validator = make_evaluator(UniversalModel(features=WIDTH, outputs="all"))
    validator.run(1)
    assert read_metric("val_restoration")(validator) == validator.state.metrics["val_restoration"]
