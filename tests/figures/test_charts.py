# SPDX-License-Identifier: Apache-2.0
"""Charts of a classifier: drawn for good data, and with the reason in words where there is nothing to draw."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from universal_model_components.figures.charts import draw_confusion, draw_cubes, draw_roc

ROWS = [{"label": label, "probability": value} for label, value in ((0, 0.1), (0, 0.4), (1, 0.35), (1, 0.8))]
SUMMARY = {
    "auc": 0.75,
    "auc_interval": (0.5, 1.0),
    "interval_level": 0.95,
    "specificity": 1.0,
    "sensitivity": 0.5,
    "threshold": 0.5,
    "confusion": [[2, 0], [1, 1]],
    "problems": [],
}


def pixels(file):
    return matplotlib.image.imread(file)[..., :3]


def test_roc_curve_is_another_picture_than_the_reason_that_there_is_none(tmp_path):
    draw_roc(ROWS, SUMMARY, tmp_path / "a.png")
    draw_roc(ROWS[:2], {**SUMMARY, "auc": None, "problems": ["no positive sample among 2"]}, tmp_path / "b.png")
    one, other = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    assert one.shape == other.shape
    assert (one != other).any()


def test_confusion_is_drawn_by_share_of_each_class(tmp_path):
    for name, counts in (("a", [[2, 0], [1, 1]]), ("b", [[20, 0], [10, 10]]), ("c", [[0, 0], [0, 3]])):
        draw_confusion({**SUMMARY, "confusion": counts}, ["healthy", "disease"], tmp_path / f"{name}.png")
    height, width = pixels(tmp_path / "a.png").shape[:2]
    place = height // 3, width // 3  # beside the number in the upper left cell: healthy, predicted healthy
    same, again, none = (pixels(tmp_path / f"{name}.png")[place] for name in "abc")
    np.testing.assert_allclose(same, again, atol=0.02)  # the same shares, other numbers
    assert np.abs(same - none).max() > 0.2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cubes_are_drawn_two_in_a_row(tmp_path, count):
    cubes = [np.full((12, 12, 8), 0.5, np.float32)] * count
    draw_cubes(cubes, [f"case {number}" for number in range(count)], tmp_path / "cubes.png", "Most wrong")
    rows = -(-count // 2)
    assert pixels(tmp_path / "cubes.png").shape[0] == round((3.0 * rows + 0.5) * 120)
