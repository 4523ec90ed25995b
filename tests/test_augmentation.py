# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import pytest
import torch
from monai.bundle import ConfigParser
from torch.utils.data import DataLoader

from universal_model_components.augmentation import SeededDataset, equal_sides
from universal_model_components.sampling import BalancedBatchSampler

FLIPS = [{"_target_": "RandFlipd", "keys": ["image"], "prob": 0.5, "spatial_axis": axis} for axis in range(3)]
TURNS = [
    {
        "_target_": "RandRotate90d",
        "_disabled_": f"$not equal_sides(@patch_size, {first}, {second})",
        "keys": ["image"],
        "prob": 0.5,
        "max_k": 3,
        "spatial_axes": [first, second],
    }
    for first, second in itertools.combinations(range(3), 2)
]
NOISE = [{"_target_": "RandGaussianNoised", "keys": ["image"], "prob": 0.5, "std": 0.1}]


def compose(shape, transforms):
    parser = ConfigParser({"patch_size": list(shape), "all": {"_target_": "Compose", "transforms": transforms}})
    parser.globals["equal_sides"] = equal_sides
    return parser.get_parsed_content("all")


@pytest.mark.parametrize(("shape", "symmetries"), [[(2, 2, 2), 48], [(2, 2, 1), 8], [(3, 2, 1), 4], [(3, 2, 3), 16]])
def test_every_symmetry_of_the_cube_and_no_other(shape, symmetries):
    image = torch.arange(float(torch.tensor(shape).prod())).reshape(1, *shape)
    data = SeededDataset([{"image": image}], compose(shape, FLIPS + TURNS))
    seen = {tuple(item["image"].flatten().tolist()) for item in (data[0, seed] for seed in range(1500))}
    assert all(item["image"].shape == image.shape for item in (data[0, seed] for seed in range(20)))
    assert len(seen) == symmetries


def test_chance_is_a_function_of_the_seed(generator):
    items = [{"image": torch.rand(1, 8, 8, 4, generator=generator)} for _ in range(6)]
    data = SeededDataset(items, compose((8, 8, 4), FLIPS + TURNS + NOISE))
    first = [data[number, seed]["image"] for number, seed in itertools.product(range(6), (3, 2**40 + 3, 5))]
    again = [data[number, seed]["image"] for number, seed in itertools.product(range(6), (3, 2**40 + 3, 5))]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[2])


def test_workers_do_not_matter(generator):
    items = [{"image": torch.rand(1, 4, 4, 4, generator=generator)} for _ in range(5)]
    data = SeededDataset(items, compose((4, 4, 4), FLIPS + TURNS + NOISE))
    batches = [
        [
            batch["image"]
            for batch in DataLoader(data, batch_sampler=BalancedBatchSampler([0, 0, 1, 1, 1], 2), num_workers=workers)
        ]
        for workers in (0, 2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
