# SPDX-License-Identifier: Apache-2.0
"""Label noise: boundaries move by the radius and no further, the same in every epoch, and the report says how much."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import Compose, RandFlipd

from universal_model_components.tasks.label_noise import (
    LabelNoiseReport,
    PerturbLabeld,
    draw_radii,
    move_boundaries,
    read_severity,
)
from universal_model_components.tasks.segmentation_data import CaseDataset


def ball(radius: float, side: int = 24, center: float = 11.0) -> torch.Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 3, indexing="ij"))
    return ((grid - center).square().sum(0) <= radius**2).float()[None]


def reference(mask: np.ndarray, radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    """From the definition: a voxel changes when one of the other kind is within the radius."""
    places = np.argwhere(np.ones_like(mask)) * spacing
    flat, out = mask.ravel(), mask.ravel().copy()
    for i, place in enumerate(places):
        near = np.sqrt(((places - place) ** 2).sum(1)) <= abs(radius)
        out[i] = flat[near].any() if radius > 0 else flat[near].all()
    return out.reshape(mask.shape)


@pytest.mark.parametrize(
    ("radius", "spacing"), [(1, (1, 1, 1)), (-1, (1, 1, 1)), (2.3, (1, 1, 1)), (-1.5, (1, 1, 1)), (2, (1, 0.8, 3))]
)
def test_boundaries_move_as_defined(radius, spacing, generator):
    smooth = torch.nn.functional.avg_pool3d(torch.rand(1, 1, 12, 11, 10, generator=generator), 3, 1)
    mask = (smooth > smooth.mean()).float()
    moved = move_boundaries(mask, torch.tensor([float(radius)]), spacing)
    assert moved.dtype == mask.dtype
    np.testing.assert_array_equal(moved[0, 0].bool(), reference(mask[0, 0].bool().numpy(), radius, spacing))


def test_a_batch_is_its_masks_one_by_one():
    masks, radii = torch.stack([ball(r) for r in (3, 5, 8, 6)]), torch.tensor([1.0, -2.0, 2.5, 0.0])
    together = move_boundaries(masks, radii)
    for mask, radius, moved in zip(masks, radii, together, strict=True):
        assert torch.equal(move_boundaries(mask[None], radius[None])[0], moved)
    assert torch.equal(together[3], masks[3])


def test_masks_that_cannot_move():
    empty, whole = torch.zeros(1, 1, 6, 6, 6), torch.ones(1, 1, 6, 6, 6)
    for mask in (empty, whole):
        for radius in (-2.0, 2.0):
            assert torch.equal(move_boundaries(mask, torch.tensor([radius])), mask)
    small = ball(2)[None]
    eroded = move_boundaries(small, torch.tensor([-9.0]))
    assert eroded.nonzero().tolist() == [[0, 0, 11, 11, 11]]  # the voxel farthest inside


def test_radii_depend_on_seed_and_case_alone():
    cases = [f"case_{i}" for i in range(200)]
    radii = draw_radii(cases, 3.0, seed=1)
    assert torch.equal(draw_radii(cases[50:60], 3.0, seed=1), radii[50:60])
    assert not torch.equal(draw_radii(cases, 3.0, seed=2), radii)
    assert 1 <= radii.abs().min() < radii.abs().max() <= 3
    assert 70 < int((radii > 0).sum()) < 130
    assert not draw_radii(cases, 0.0).any()


@pytest.mark.parametrize(
    ("value", "severity"), [(0, 0), (None, 0), ("null", 0), (False, 0), ("false", 0), ("2", 2), (1, 1), (2.5, 2.5)]
)
def test_severity_is_read(value, severity):
    assert read_severity(value) == severity


@pytest.mark.parametrize("value", [0.3, -1, True, "much", float("inf"), [1]])
def test_severity_is_refused(value):
    with pytest.raises(ValueError, match=r"label_noise: .* is not a radius of 1 mm or more"):
        read_severity(value)
    with pytest.raises(ValueError, match=r"^label_noise: .* is not a radius of 1 mm or more"):
        PerturbLabeld("label", value)


def data(case: str) -> dict:
    return {"image": ball(4), "label": MetaTensor(ball(6), affine=torch.eye(4)), "case": case}


def test_the_transform_changes_labels_alone_and_the_same_each_time():
    noise, given = PerturbLabeld("label", severity=2, seed=3), data("a")
    first, second = noise(given), noise(data("a"))
    assert torch.equal(first["label"], second["label"])
    assert isinstance(first["label"], MetaTensor)
    assert torch.equal(given["label"], ball(6))  # the data that came in are left alone
    assert torch.equal(first["image"], ball(4))
    radius, iou = noise.ious["a"]
    one, other = first["label"].bool(), ball(6).bool()
    assert iou == pytest.approx(float((one & other).sum() / (one | other).sum()))
    assert (radius > 0) == bool(one.sum() > other.sum())
    assert torch.equal(PerturbLabeld("label", 0)(data("a"))["label"], ball(6))
    with pytest.raises(ValueError, match=r"label_noise: a case has no 'case' \(found \['label'\]\)"):
        noise({"label": ball(6)})


def test_the_report_names_the_mean(tmp_path: Path, caplog):
    noise = PerturbLabeld("label", severity="2", seed=3)
    transform = Compose([noise, RandFlipd("label", prob=0.5)])
    dataset = CaseDataset([data(f"c{i}") for i in range(3)], transform)  # fills its cache with noisy masks
    trainer = Engine(lambda engine, batch: None)
    LabelNoiseReport(noise, len(dataset), str(tmp_path)).attach(trainer)
    with caplog.at_level(logging.WARNING):
        trainer.run([0], max_epochs=1)
    with (tmp_path / "label_noise.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == ["c0", "c1", "c2"]
    mean = np.mean([float(row["iou"]) for row in rows])
    assert f"mean IoU {mean:.3f}" in caplog.text
    assert "over 3 of 3 cases" in caplog.text
    clean = Engine(lambda engine, batch: None)
    LabelNoiseReport(PerturbLabeld("label", 0), 3, str(tmp_path / "none")).attach(clean)
    clean.run([0], max_epochs=1)
    assert not (tmp_path / "none").exists()
