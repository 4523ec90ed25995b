# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from universal_model_components.evaluation.pretext import PretextEvaluation, measure_classes


class Fixed(nn.Module):
    """The first voxel is the class that is predicted, with a logit of 2."""

    def forward(self, image):
        return {"task": 2.0 * nn.functional.one_hot(image.flatten(1)[:, 0].long(), 3).float()}


def labels_of(batch, device):
    return batch["image"].to(device), {"task": batch["seed"]}


def test_each_cube_is_measured():
    batch = {
        "image": torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1, 1),
        "seed": torch.tensor([0, 1, 0]),
        "case": ["a", "a", "b"],
        "modality": torch.tensor([0, 0, 1]),
    }
    rows = measure_classes(Fixed(), [batch], labels_of, "task")
    assert [(row["case"], row["modality"], row["correct"]) for row in rows] == [
        ("a", 0, True),
        ("a", 0, True),
        ("b", 1, False),
    ]
    normalizer = math.log(math.exp(2) + 2)
    expected = [normalizer - 2, normalizer - 2, normalizer]
    assert [row["cross_entropy"] for row in rows] == pytest.approx(expected, rel=1e-5)


def test_an_output_that_is_not_finite_names_its_cases():
    batch = {"image": torch.zeros(1, 1, 1, 1, 1), "seed": torch.tensor([0]), "case": ["a"], "modality": torch.zeros(1)}
    with pytest.raises(FloatingPointError, match=r"task: outputs for cubes of \['a'\] are not finite"):
        measure_classes(lambda image: {"task": torch.full((1, 3), math.nan)}, [batch], labels_of, "task")


def test_missing_weights_are_named(tmp_path):
    evaluation = PretextEvaluation(Fixed(), str(tmp_path / "model.pt"), [], None, ["ct"], str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"model\.pt"):
        evaluation.run()
