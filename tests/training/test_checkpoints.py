# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import random

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from trainers import assert_same, make_trainer, state

from universal_model_components.training.checkpoints import RandomState, TrainingCheckpoint
from universal_model_components.training.identity import CHANGEABLE
from universal_model_components.training.loss_record import LossRecorder
from universal_model_components.utils.files import write_atomically


class Killed(Exception):
    pass


def run(folder, epochs=3, resume=False, stop_at=None, interval=0, settings=None, accumulation_steps=1, momentum=0.9):
    """Train with plateau, recorder and checkpoints; `stop_at` breaks off after that step."""
    trainer = make_trainer(epochs=epochs, accumulation_steps=accumulation_steps)
    for group in trainer.optimizer.param_groups:
        group["momentum"] = momentum
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(trainer.optimizer, factor=0.5, patience=0)
    recorder = LossRecorder(str(folder))
    recorder.attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: plateau.step(e.state.metrics["loss_modality"]))
    objects = {"network": trainer.network, "optimizer": trainer.optimizer, "plateau": plateau, "recorder": recorder}
    if stop_at is not None:

        def stop(engine):
            if engine.state.iteration == stop_at:
                raise Killed

        trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    TrainingCheckpoint(str(folder), objects, settings or {"seed": 0}, resume, interval).attach(trainer)
    try:
        trainer.run()
    except Killed:
        return None
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in recorder.rows]
    return state(trainer), rows, plateau.state_dict()


@pytest.mark.parametrize(
    ("interval", "stop_at", "accumulation"), [[0, 4, 1], [0, 8, 1], [2, 5, 1], [1, 1, 1], [1, 9, 1], [1, 5, 2]]
)
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, interval, stop_at, accumulation):
    kwargs = {"interval": interval, "accumulation_steps": accumulation}
    weights, rows, plateau = run(tmp_path / "whole", **kwargs)
    assert run(tmp_path / "killed", stop_at=stop_at, **kwargs) is None
    resumed_weights, resumed_rows, resumed_plateau = run(tmp_path / "killed", resume=True, **kwargs)
    assert_same(weights, resumed_weights)
    assert rows == resumed_rows
    assert plateau == resumed_plateau


def test_a_longer_run_goes_on_from_a_finished_one(tmp_path):
    run(tmp_path / "short", epochs=2)
    weights, rows, _ = run(tmp_path / "short", epochs=3, resume=True)
    whole, whole_rows, _ = run(tmp_path / "whole", epochs=3)
    assert_same(weights, whole)
    assert rows == whole_rows


def test_resume_without_a_checkpoint_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        run(tmp_path, epochs=1, resume=True)
    assert "no checkpoint at" in caplog.text
    assert "starting from zero" in caplog.text


def test_resume_with_another_setting_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    expected = (
        r"checkpoint.pt was written with seed=0, this run has 1: give the same seed, or start again with --resume false"
    )
    with pytest.raises(ValueError, match=expected):
        run(tmp_path, epochs=2, resume=True, settings={"seed": 1})
    with pytest.raises(ValueError, match=r"written with seed=0, this run has None: give the same seed"):
        run(tmp_path, epochs=2, resume=True, settings={"number": 1})
    with pytest.raises(ValueError, match=r"written with optimizer::momentum=0.9, this run has 0.8: give the same"):
        run(tmp_path, epochs=2, resume=True, momentum=0.8)


@pytest.mark.parametrize("name", CHANGEABLE)
def test_a_resumed_run_may_change_how_it_is_run(name, tmp_path):
    run(tmp_path, epochs=1, settings={"seed": 0, name: 1})
    assert run(tmp_path, epochs=2, resume=True, settings={"seed": 0, name: 2}) is not None


@pytest.mark.parametrize(("first", "second"), [(False, "false"), ("True", True), (None, "null"), ([1, 2], [1, 2])])
def test_settings_are_compared_as_the_command_line_means_them(first, second, tmp_path):
    run(tmp_path, epochs=1, settings={"amp": first})
    assert run(tmp_path, epochs=2, resume="true", settings={"amp": second}) is not None


@pytest.mark.parametrize("value", [False, "false", "False"])
def test_resume_is_switched_off_by_a_string_too(value, tmp_path):
    run(tmp_path, epochs=1)
    fresh, again = run(tmp_path / "fresh", epochs=1), run(tmp_path, epochs=1, resume=value)
    assert_same(fresh[0], again[0])
    with pytest.raises(ValueError, match="resume: 'perhaps' is not a boolean"):
        run(tmp_path, resume="perhaps")


def test_resume_from_something_else_is_refused(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(
        ValueError, match=r"^resume: .*checkpoint.pt is unreadable \(.*\): give another ckpt_dir, or start"
    ):
        run(tmp_path, resume=True)


SPOILT = {
    "a list": (lambda state: [1], r"has no \['network', 'optimizer', 'plateau', .*\], expected a checkpoint"),
    "no network": (lambda state: {**state, "network": None}, "the state of 'network' does not fit"),
    "another optimizer": (
        lambda state: {**state, "optimizer": {"param_groups": []}},
        "the state of 'optimizer' does not",
    ),
    "no generator": (lambda state: {**state, "random": {"torch": 1}}, "the state of 'random' does not fit"),
    "another length": (lambda state: {**state, "trainer": {"epoch": "one"}}, "the state of 'trainer' does not fit"),
    "endless": (lambda state: {**state, "network": {"w": torch.zeros(1).expand(10**12)}}, "has w .* only 4 are stored"),
    "repeated": (lambda state: {**state, "identity": {"seed": repeated(40)}}, r"seed=\[\[.*, this run has 0: give the"),
}


def repeated(times):
    value = [0]
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_checkpoint_ends_in_one_line(kind, tmp_path):
    spoil, message = SPOILT[kind]
    run(tmp_path, epochs=1)
    file = tmp_path / "checkpoint.pt"
    torch.save(spoil(torch.load(file, weights_only=True)), file)
    with pytest.raises(ValueError, match=rf"^resume: .*{message}") as caught:
        run(tmp_path, epochs=2, resume=True)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_changed_byte_is_found(tmp_path):
    run(tmp_path, epochs=1)
    file = tmp_path / "checkpoint.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged \(data/.* has another checksum\)"):
        run(tmp_path, epochs=2, resume=True)


def test_what_an_earlier_checkpoint_does_not_state_is_named(tmp_path, caplog):
    run(tmp_path, epochs=1, settings={"seed": 0, "batch_size": 4})
    file = tmp_path / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    del state["identity"]
    torch.save({**state, "settings": {"seed": 0, "optimizer": "SGD", "cubes": 12}}, file)
    assert run(tmp_path, epochs=2, resume=True, settings={"seed": 0, "batch_size": 4}) is not None
    assert (
        "does not state ['batch_size', 'network', 'optimizer', 'plateau']: whether they are the same is" in caplog.text
    )
    torch.save({**state, "settings": {"seed": 1}}, file)
    with pytest.raises(ValueError, match="written with seed=1, this run has 0"):
        run(tmp_path, epochs=2, resume=True)


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint(tmp_path, caplog):
    network, engine = nn.Linear(2, 1), Engine(lambda engine, batch: None)
    TrainingCheckpoint(str(tmp_path), {"network": network}).attach(engine)
    engine.run([0], 1)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    nn.init.constant_(network.weight, float("nan"))
    engine.run([0], 2)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    assert "checkpoint.pt: not written: the network's weights are not finite" in caplog.text


def test_a_checkpoint_without_a_loss_scale_resumes_where_there_is_one(tmp_path, caplog):
    """As from a CPU on a GPU, with amp."""
    for resume in (False, True):
        engine = Engine(lambda engine, batch: None)
        if resume:
            engine.scaler = torch.amp.GradScaler("cpu")
        TrainingCheckpoint(str(tmp_path), {"network": nn.Linear(2, 1)}, resume=resume).attach(engine)
        engine.run([0], 1 + resume)
    assert engine.state.epoch == 2
    assert "has no loss scale, as on a CPU: it starts anew" in caplog.text


def test_random_state_round_trip():
    keeper = RandomState()
    kept = keeper.state_dict()
    first = (torch.rand(3), np.random.rand(3), random.random())  # noqa: NPY002
    keeper.load_state_dict(kept)
    second = (torch.rand(3), np.random.rand(3), random.random())  # noqa: NPY002
    assert torch.equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert first[2] == second[2]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    file = tmp_path / "model.pt"
    file.write_text("old")

    def fill_the_disk(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"model.pt could not be written .*No space left"):
        write_atomically(file, fill_the_disk)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    ("states", "gpus", "processes", "loaded", "warned"),
    [
        [0, 1, 1, [], False],  # a checkpoint of a CPU
        [1, 1, 1, ["all"], False],
        [2, 2, 2, ["own"], False],
        [2, 1, 1, [], True],
    ],
)
def test_random_states_of_gpus(states, gpus, processes, loaded, warned, monkeypatch, caplog):
    state = RandomState().state_dict() | {"cuda": [torch.zeros(16, dtype=torch.uint8)] * states}
    seen = []
    fakes = {"is_available": lambda: True, "device_count": lambda: gpus}
    fakes |= {"set_rng_state": lambda state: seen.append("own"), "set_rng_state_all": lambda all_: seen.append("all")}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(idist, "get_world_size", lambda: processes)
    RandomState().load_state_dict(state)
    assert seen == loaded
    assert ("they start anew" in caplog.text) is warned
