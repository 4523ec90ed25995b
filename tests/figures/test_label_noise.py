# SPDX-License-Identifier: Apache-2.0
"""The picture of noisy masks: which cases are in it, and that drawing it changes nothing else."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import Compose, RandFlipd

from universal_model_components.figures.label_noise import LabelNoisePicture, spread_out
from universal_model_components.tasks.label_noise import PerturbLabeld
from universal_model_components.tasks.segmentation_data import CaseDataset
from universal_model_components.training.checkpoints import RandomState


@pytest.mark.parametrize(
    ("radii", "count", "chosen"),
    [
        ({}, 4, []),
        ({"a": 2.0}, 4, ["a"]),
        ({"b": 1.0, "a": 1.0, "c": -1.0}, 4, ["c", "a", "b"]),
        ({"a": 3.0, "b": -1.0, "c": 1.0, "d": -3.0, "e": 2.0}, 4, ["d", "b", "e", "a"]),
        ({f"c{i}": float(i) for i in range(10)}, 4, ["c0", "c3", "c6", "c9"]),
        ({f"c{i}": float(i) for i in range(10)}, 2, ["c0", "c9"]),
        ({"a": 2.0, "b": -1.0}, 1, ["b"]),
    ],
)
def test_cases_are_spread_over_the_radii(radii, count, chosen):
    assert spread_out(radii, count) == chosen


def make_case(number: int) -> dict:
    """A box in a noisy scan of 2 mm voxels; the first case has no foreground."""
    mask = torch.zeros(1, 32, 28, 24)
    mask[:, 8:20, 8:16, 6:18] = float(number > 0)
    image = mask + 0.1 * torch.rand(mask.shape, generator=torch.Generator().manual_seed(number))
    affine = torch.diag(torch.tensor([-2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    return {"image": MetaTensor(image, affine=affine), "label": MetaTensor(mask, affine=affine), "case": f"c{number}"}


def start(severity: float, folder: Path, data: list[dict], cases: int = 2) -> None:
    """Start a training with the handler."""
    noise = PerturbLabeld("label", severity, seed=3)
    dataset = CaseDataset(data, Compose([noise, RandFlipd("label", prob=0.5)]))
    trainer = Engine(lambda engine, batch: None)
    LabelNoisePicture(noise, dataset, str(folder), cases).attach(trainer)
    trainer.run([0], max_epochs=1)


def test_a_row_for_each_chosen_case_and_nothing_else_changes(tmp_path: Path):
    data = [make_case(number) for number in range(4)]
    kept = [case["label"].clone() for case in data]
    before = RandomState().state_dict()
    start(4, tmp_path, data)
    after = RandomState().state_dict()
    assert torch.equal(after["torch"], before["torch"])
    assert torch.equal(after["numpy"][1], before["numpy"][1])
    assert after["python"] == before["python"]
    assert all(torch.equal(case["label"], label) for case, label in zip(data, kept, strict=True))
    assert [file.name for file in tmp_path.iterdir()] == ["label_noise.png"]
    two = matplotlib.image.imread(tmp_path / "label_noise.png")
    start(4, tmp_path, data[:2])  # one of them is empty
    assert two.shape[0] > 1.8 * matplotlib.image.imread(tmp_path / "label_noise.png").shape[0]


@pytest.mark.parametrize(("severity", "number"), [(0, 1), (4, 0)])
def test_no_picture_without_noise_or_foreground(severity, number, tmp_path: Path):
    start(severity, tmp_path / "output", [make_case(number)])
    assert not (tmp_path / "output").exists()
