# SPDX-License-Identifier: Apache-2.0
"""Curves are drawn from the CSV of a training, as far as it has come."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.image
from ignite.engine import Engine
from svg import texts

from universal_model_components.figures.curves import MetricCurves, draw_losses, draw_metrics, read_rows


def test_rows_with_empty_cells(tmp_path: Path):
    (tmp_path / "losses.csv").write_text("epoch,loss,val_iou\n1,0.5,\n2,0.25,0.75\n")
    first, second = read_rows(tmp_path / "losses.csv")
    assert math.isnan(first.pop("val_iou"))
    assert first == {"epoch": 1, "loss": 0.5}
    assert second == {"epoch": 2, "loss": 0.25, "val_iou": 0.75}


def test_curves_follow_the_file(tmp_path: Path):
    source, picture = tmp_path / "losses.csv", tmp_path / "curves.png"
    trainer = Engine(lambda engine, batch: None)
    MetricCurves(str(tmp_path), ["val_iou", "absent"]).attach(trainer)
    trainer.run([0], max_epochs=1)  # nothing recorded yet
    assert not picture.exists()
    drawn = []
    for rows in ("1,0.5,0.1\n", "1,0.5,0.1\n2,0.25,0.75\n"):
        source.write_text("epoch,loss,val_iou\n" + rows)
        trainer.run([0], max_epochs=1)
        drawn.append(matplotlib.image.imread(picture))
    assert drawn[0].shape == drawn[1].shape
    assert (drawn[0] != drawn[1]).any()


def test_loss_curves_leave_out_what_is_absent() -> None:
    rows = [
        {"epoch": e, "loss_restoration": 0.1 / e, "loss_modality": 0.7, "loss_scale": float("nan")} for e in (1, 2, 3)
    ]
    svg = draw_losses(rows, {"corrupted input": 0.09})
    words = texts(svg)
    assert "training" in words
    assert "corrupted input" in words
    assert "modality" in words
    assert "validation" not in words
    assert "scale" not in words
    assert "currentColor" in svg
    assert draw_losses(rows, {"corrupted input": 0.09}) == svg  # the same input, the same drawing


def test_loss_curves_survive_nothing_to_draw() -> None:
    assert "<svg" in draw_losses([{"epoch": 1, "loss_restoration": float("nan")}])


def test_metrics_without_a_value_are_left_out(tmp_path: Path):
    rows = [{"epoch": 1, "loss": 0.5, "val_iou": 0.2, "val_dice": math.nan}, {"epoch": 2, "loss": 0.4, "val_iou": 0.3}]
    drawn = []
    for metrics in (["val_iou"], ["val_iou", "val_dice", "absent"], []):
        drawn.append(matplotlib.image.imread(draw_metrics(rows, metrics, tmp_path / "curves.png")))
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
