# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest
import torch

from universal_model_components.inference.predictions import SavePredictionsd


def test_the_file_is_whole_after_each_scan(tmp_path):
    file = tmp_path / "submission.csv"
    file.write_text("of an earlier run\n")
    save = SavePredictionsd("pred", str(file), "position", "seriesuid")
    positions = torch.tensor([[-128.6994211, -175.3192718, -298.3875064], [1.0, 2.5, -3.0]], dtype=torch.float64)
    save({"pred": torch.tensor([[0.75, 1.0], [0.25, 0.0]]), "position": positions, "seriesuid": "1.2.840"})
    lines = ["seriesuid,coordX,coordY,coordZ,probability", "1.2.840,-128.6994211,-175.3192718,-298.3875064,0.25"]
    lines += ["1.2.840,1.0,2.5,-3.0,0.0"]
    assert file.read_text().splitlines() == lines
    given = {"pred": torch.tensor([[0.5], [0.5]]), "position": positions[1:], "seriesuid": "1.2.841"}
    assert save(given) == given
    assert file.read_text().splitlines() == [*lines, "1.2.841,1.0,2.5,-3.0,0.5"]
    assert os.listdir(tmp_path) == ["submission.csv"]


def test_a_row_a_subject(tmp_path):
    save = SavePredictionsd("pred", str(tmp_path / "predictions.csv"))
    for name, score in (("136_S_0086", 0.125), ('a,"b"', 1.0)):
        save({"pred": torch.tensor([1 - score, score]), "case": name})
    expected = 'subject,probability\n136_S_0086,0.125\n"a,""b""",1.0\n'
    assert (tmp_path / "predictions.csv").read_text() == expected


@pytest.mark.parametrize(
    ("score", "name", "message"),
    [
        [float("nan"), "predictions.csv", "^case: a probability is not finite"],
        [0.5, "file/predictions.csv", ".*file"],
    ],
)
def test_what_cannot_be_written_ends_in_one_line(score, name, message, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((FloatingPointError, OSError), match=message) as caught:
        SavePredictionsd("pred", str(tmp_path / name))({"pred": torch.tensor([0.5, score]), "case": "case"})
    assert "\n" not in str(caught.value)
