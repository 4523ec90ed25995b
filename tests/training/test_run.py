# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from monai.handlers import StatsHandler
from trainers import make_trainer

from universal_model_components.training.handlers import Progress
from universal_model_components.training.run import pass_on_errors, run_training


def test_a_run_that_would_never_validate_is_refused():
    trainer = make_trainer(epochs=2)
    with pytest.raises(ValueError, match="val_interval 3 is more than the 2 epochs"):
        run_training(trainer, 3)
    assert trainer.state.iteration == 0
    run_training(trainer, 2)
    assert trainer.state.epoch == 2


def test_errors_leave_an_engine_before_they_are_logged(capsys):
    def fail(engine):
        raise ValueError("image: constant")

    for attached in (False, True):
        trainer = make_trainer(epochs=1)
        if attached:
            pass_on_errors(trainer)
        StatsHandler(name="train").attach(trainer)
        trainer.add_event_handler("ITERATION_STARTED", fail)
        with pytest.raises(ValueError, match="image: constant"):
            trainer.run()
        assert ("Exception: image: constant" in capsys.readouterr().out) is not attached


def test_progress_shows_every_loss(capfd):
    trainer = make_trainer(epochs=1, handlers=[Progress("a name")])
    trainer.run()
    shown = capfd.readouterr().err
    assert "a name" in shown
    assert "loss_scale=" in shown
