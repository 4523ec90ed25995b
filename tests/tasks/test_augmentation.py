# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from universal_model_components.tasks.augmentation import RandSymmetryd, apply_symmetry, equal_side_permutations


@pytest.mark.parametrize(
    ("sides", "number"), [[(8, 8, 8), 6], [(8, 8, 4), 2], [(8, 4, 8), 2], [(4, 6, 8), 1], [(64, 64, 32), 2]]
)
def test_only_equal_sides_are_exchanged(sides, number):
    orders = equal_side_permutations(sides)
    assert len(orders) == number
    assert orders[0] == (0, 1, 2)
    assert all(tuple(sides[axis] for axis in order) == sides for order in orders)


def test_symmetry_equals_voxel_by_voxel(generator):
    volume = torch.rand(2, 3, 3, 2, generator=generator)
    turned = apply_symmetry(volume, (1, 0, 2), (True, False, True))
    for i in range(3):
        for j in range(3):
            for k in range(2):
                assert torch.equal(turned[:, i, j, k], volume[:, j, 2 - i, 1 - k])


def test_a_transpose_with_a_flip_is_a_rotation(generator):
    volume = torch.rand(1, 4, 4, 2, generator=generator)
    assert torch.equal(apply_symmetry(volume, (1, 0, 2), (True, False, False)), torch.rot90(volume, 1, (1, 2)))


def test_image_and_label_are_turned_alike_and_every_symmetry_occurs(generator):
    volume = torch.rand(1, 4, 4, 2, generator=generator)
    turn = RandSymmetryd(["image", "label"])
    turn.set_random_state(0)
    seen = set()
    for _ in range(300):
        result = turn({"image": volume, "label": volume + 1, "other": 5})
        assert torch.equal(result["image"] + 1, result["label"])
        assert result["image"].shape == volume.shape
        seen.add(tuple(result["image"].flatten().tolist()))
    assert len(seen) == 16  # two orders of the axes, eight combinations of flips


def test_probability_zero_changes_nothing(generator):
    volume = torch.rand(1, 4, 4, 4, generator=generator)
    turn = RandSymmetryd("image", flip=0.0, transpose=0.0)
    assert all(torch.equal(turn({"image": volume})["image"], volume) for _ in range(20))
