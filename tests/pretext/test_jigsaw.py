# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from trainers import WIDTH

from universal_model_components.pretext.jigsaw import (
    JigsawModel,
    JigsawTask,
    cut_patches,
    draw_labels,
    draw_places,
    fit_to_poolings,
    patch_shape,
)


def puzzle_of(cube, places, permutation, patch):
    """Cut and shuffle one cube (C, H, W, D), cell by cell: the piece at each place is the one that the order names."""
    pieces = []
    for piece in permutation:
        low = places[piece]
        high = [begin + side for begin, side in zip(low, patch, strict=True)]
        pieces.append(cube[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]])
    return np.stack(pieces)


@pytest.fixture
def network():
    return JigsawModel(features=WIDTH, hidden_channels=16)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 128, 128), (39, 39, 39)),
        ((64, 64, 32), (19, 19, 9)),
        ((32, 32, 32), (9, 9, 9)),
        ((6, 7, 8), (1, 1, 1)),
    ],
)
def test_patches_are_smaller_than_their_cells(shape, expected):
    assert patch_shape(shape) == expected


def test_cubes_too_small_for_a_gap_are_named():
    with pytest.raises(ValueError, match=r"cubes: a jigsaw needs sides of at least 6 voxels, found \[16, 16, 5\]"):
        patch_shape((16, 16, 5))


@pytest.mark.parametrize("shape", [(32, 24, 16), (128, 128, 128)])
def test_each_patch_is_anywhere_in_its_own_cell(shape):
    places, patch = draw_places(torch.arange(400), shape), patch_shape(shape)
    assert torch.equal(draw_places(torch.arange(390, 400), shape), places[-10:])
    for number, cell in enumerate(np.ndindex(3, 3, 3)):
        for axis in range(3):
            side = shape[axis] // 3
            first = (shape[axis] - 3 * side) // 2 + cell[axis] * side
            found = places[:, number, axis]
            free = side - patch[axis]
            assert found.unique().tolist() == list(range(first, first + free + 1))
    counts = (places[:, 0, 0] - places[:, 0, 0].min()).bincount()
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_orders_are_drawn_equally_often_and_by_seed():
    labels = draw_labels(torch.arange(20_000), 100)
    assert stats.chisquare(labels.bincount(minlength=100).numpy()).pvalue > 1e-3
    assert torch.equal(draw_labels(torch.arange(10, 20), 100), labels[10:20])


def test_a_batch_is_cut_as_its_cubes_one_by_one(generator):
    cubes = torch.rand(3, 2, 12, 10, 8, generator=generator)
    places = draw_places(torch.arange(3), (12, 10, 8))
    cut = cut_patches(cubes, places, (3, 2, 1))
    for cube, begins, result in zip(cubes.numpy(), places.tolist(), cut.numpy(), strict=True):
        assert np.array_equal(result, puzzle_of(cube, begins, range(27), (3, 2, 1)))


def test_a_prepared_batch_is_what_was_drawn_for_each_cube(network, generator):
    cubes, seeds = torch.rand(6, 1, 16, 16, 16, generator=generator), torch.arange(40, 46)
    task = JigsawTask(network)
    patches, targets = task.prepare_batch({"image": cubes, "seed": seeds}, torch.device("cpu"))
    assert patches.shape == (6, 27, 1, 4, 4, 4)
    labels, places = draw_labels(seeds, 100), draw_places(seeds, (16, 16, 16))
    assert torch.equal(targets["jigsaw"], labels)
    for number, cube in enumerate(cubes.numpy()):
        order = network.permutations[labels[number]].tolist()
        assert np.array_equal(patches[number].numpy(), puzzle_of(cube, places[number].tolist(), order, (4, 4, 4)))
        alone, _ = task.prepare_batch({"image": cubes[number : number + 1], "seed": seeds[number : number + 1]})
        assert torch.equal(alone[0], patches[number])


def test_the_permutations_travel_with_the_weights(network, generator):
    other = JigsawModel(features=WIDTH, hidden_channels=16, seed=1)
    cubes, seeds = torch.rand(4, 1, 16, 16, 16, generator=generator), torch.arange(4)
    task = JigsawTask(other)
    before = task.prepare_batch({"image": cubes, "seed": seeds})[0]
    other.load_state_dict(network.state_dict())
    after = task.prepare_batch({"image": cubes, "seed": seeds})[0]
    assert not torch.equal(before, after)
    assert torch.equal(after, JigsawTask(network).prepare_batch({"image": cubes, "seed": seeds})[0])


@pytest.mark.parametrize(("side", "expected"), [(39, 40), (19, 16), (9, 8), (4, 8), (16, 16), (1, 8)])
def test_patches_are_resized_to_what_the_poolings_divide(side, expected, generator):
    image = torch.rand(2, 1, side, side, side, generator=generator)
    resized = fit_to_poolings(image, 8)
    assert resized.shape[2:] == (expected,) * 3
    assert (resized is image) == (side == expected)


def test_the_model_sees_each_patch_alone_and_in_its_place(network, generator):
    patches = torch.rand(2, 27, 1, 9, 9, 9, generator=generator, dtype=torch.float64)
    for module in network.double().modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # the statistics of one batch, so that the features vary
    network.train()(patches)
    network.eval()
    logits = network(patches)["jigsaw"]
    assert logits.shape == (2, 100)
    pooled = []
    for patch in patches.flatten(0, 1):  # one at a time
        deepest = network.encoder(fit_to_poolings(patch[None], 8))[-1]
        pooled.append(deepest.mean(dim=(2, 3, 4))[0])
    features = torch.stack(pooled).view(2, -1)
    torch.testing.assert_close(network.classifier(features), logits)
    assert not torch.allclose(network(patches.flip(1))["jigsaw"], logits, atol=1e-4)


def test_dropout_and_batch_norm_follow_both_hidden_layers(network):
    kinds = [type(layer).__name__ for layer in network.classifier]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert {layer.p for layer in network.classifier if isinstance(layer, torch.nn.Dropout)} == {0.5}
