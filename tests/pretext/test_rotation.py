# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import stats
from trainers import WIDTH

from universal_model_components.pretext.rotation import CLASSES, RotationModel, RotationTask, draw_rotations, rotate

# right-handed quarter turns about the first, second and third axis
QUARTER = {
    0: np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    1: np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    2: np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
}


def rotate_one(cube, label):
    """Rotate a cube (C, S, S, S) about its center, voxel by voxel, from the definition of the classes."""
    turn = np.eye(3, dtype=int)
    if label > 0:
        turn = np.linalg.matrix_power(QUARTER[(label - 1) // 3], (label - 1) % 3 + 1)
    side, out = cube.shape[-1], np.empty_like(cube)
    for voxel in np.ndindex(cube.shape[1:]):
        from_center = 2 * np.array(voxel) - (side - 1)  # doubled, so that it is whole
        x, y, z = (turn @ from_center + side - 1) // 2
        out[:, x, y, z] = cube[:, voxel[0], voxel[1], voxel[2]]
    return out


@pytest.mark.parametrize("side", [4, 5])
def test_each_class_is_its_rotation(side, generator):
    cubes = torch.rand(CLASSES, 2, side, side, side, generator=generator)
    rotated = rotate(cubes, torch.arange(CLASSES))
    for label, (cube, result) in enumerate(zip(cubes.numpy(), rotated.numpy(), strict=True)):
        assert np.array_equal(result, rotate_one(cube, label)), label
        planes = ((2, 3), (3, 1), (1, 2))
        axis, turns = ((label - 1) // 3, (label - 1) % 3 + 1) if label else (0, 0)
        assert np.array_equal(result, torch.rot90(torch.from_numpy(cube), turns, planes[axis]).numpy())


def test_the_classes_differ_from_each_other(generator):
    cube = torch.rand(1, 1, 4, 4, 4, generator=generator).expand(CLASSES, -1, -1, -1, -1)
    assert len(rotate(cube, torch.arange(CLASSES)).flatten(1).unique(dim=0)) == CLASSES


def test_classes_are_drawn_equally_often_and_by_seed():
    labels = draw_rotations(torch.arange(5000))
    assert stats.chisquare(labels.bincount(minlength=CLASSES).numpy()).pvalue > 1e-3
    assert torch.equal(draw_rotations(torch.arange(4990, 5000)), labels[-10:])


def test_a_batch_equals_its_cubes_one_by_one(generator):
    cubes, seeds = torch.rand(12, 1, 8, 8, 8, generator=generator), torch.arange(12)
    before = cubes.clone()
    image, targets = RotationTask().prepare_batch({"image": MetaTensor(cubes), "seed": seeds}, torch.device("cpu"))
    assert torch.equal(cubes, before)
    assert type(image) is torch.Tensor
    assert targets.keys() == {"rotation"}
    for number in range(12):
        part = {"image": cubes[number : number + 1], "seed": seeds[number : number + 1]}
        alone, target = RotationTask().prepare_batch(part)
        assert torch.equal(alone[0], image[number])
        assert target["rotation"] == targets["rotation"][number]


def test_a_batch_without_seeds_draws_them(generator):
    image, targets = RotationTask().prepare_batch({"image": torch.rand(64, 1, 4, 4, 4, generator=generator)})
    assert image.shape == (64, 1, 4, 4, 4)
    assert len(targets["rotation"].unique()) > 3


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 1, 8, 8, 4), r"cubes: rotation needs equal sides, found \[8, 8, 4\]: give prepare.json a patch_size"),
        ((2, 8, 8, 8), "cubes: expected floating-point"),
    ],
)
def test_other_cubes_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        rotate(torch.zeros(shape), torch.zeros(2, dtype=torch.int64))


def test_the_model_has_ten_logits_and_our_encoder(generator):
    network = RotationModel(features=WIDTH, hidden_channels=8)
    assert network(torch.rand(2, 1, 16, 16, 16, generator=generator))["rotation"].shape == (2, 10)
    assert {name.split(".")[0] for name in network.state_dict()} == {"encoder", "classifier"}
