# SPDX-License-Identifier: Apache-2.0
"""What τ draws: reproducible in any batch, and distributed as the method says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import references
import torch
from monai.data import MetaTensor
from scipy import stats

from universal_model_components.method import genesis as random_corruptions
from universal_model_components.method.block_sampling import draw_blocks, draw_orders
from universal_model_components.method.combination import corrupt
from universal_model_components.method.corruptions import tabulate_curves
from universal_model_components.method.genesis import GenesisCorruption, draw_seeds
from universal_model_components.method.local_shuffling import block_classes

ALONE = {"flip": 0, "shuffle": 0, "nonlinear": 0, "paint": 0}
MANY = torch.arange(4000)


def binomial(count: int, share: float) -> float:
    """Four standard deviations of an observed share."""
    return 4 * (share * (1 - share) / count) ** 0.5


@pytest.fixture(scope="module")
def drawn():
    """Parameters of many cubes; shuffling, which draws most, is left to its own tests."""
    return GenesisCorruption(shuffle=0).draw(MANY, (1, 36, 24, 18))


def test_batch_composition_does_not_matter(generator, monkeypatch):
    cubes, seeds = torch.rand(11, 1, 24, 16, 16, generator=generator), draw_seeds(11, generator)
    together = GenesisCorruption()(cubes, seeds)
    order = torch.randperm(11, generator=generator)
    for result, again in zip(together, GenesisCorruption()(cubes[order], seeds[order]), strict=True):
        assert torch.equal(again, result[order])
    for i in range(11):
        alone = GenesisCorruption()(cubes[i : i + 1], seeds[i : i + 1])
        assert all(torch.equal(one[0], all_[i]) for one, all_ in zip(alone, together, strict=True))
    monkeypatch.setattr(random_corruptions, "CPU_GROUP", 3)
    assert all(torch.equal(a, b) for a, b in zip(GenesisCorruption()(cubes, seeds), together, strict=True))


def test_probabilities_do_not_change_what_is_drawn(generator):
    cubes, seeds = torch.rand(6, 1, 16, 16, 16, generator=generator), torch.arange(6)
    always = GenesisCorruption(flip=0, shuffle=0, nonlinear=1, paint=0)(cubes, seeds)[0]
    sometimes = GenesisCorruption(flip=0, shuffle=0, nonlinear=0.5, paint=0)(cubes, seeds)[0]
    for cube, full, half in zip(cubes, always, sometimes, strict=True):
        assert torch.equal(half, full) or torch.equal(half, cube)


def test_mix_matches_references_in_order(generator):
    cubes, seeds = torch.rand(8, 2, 16, 16, 20, generator=generator), torch.arange(8)
    corruption = GenesisCorruption(shuffle=0.9)
    corrupted, target = corruption(cubes, seeds)
    p = corruption.draw(seeds, cubes.shape[1:])
    samples = [cube.numpy() for cube in cubes]
    for sample, axes in zip(p.flipped.tolist(), p.axes.numpy(), strict=True):
        samples[sample] = references.flip(samples[sample], axes)
    assert np.array_equal(target.numpy(), np.stack(samples))
    for sample, *blocks in zip(p.shuffled.tolist(), *(part.numpy() for part in p.blocks), strict=True):
        starts, sides, orders, picks = (part[..., :] for part in blocks)
        samples[sample] = references.shuffle(samples[sample], starts, sides, orders, picks)
    for sample, heights in zip(p.mapped.tolist(), tabulate_curves(p.control, p.decreasing).numpy(), strict=True):
        samples[sample] = np.interp(samples[sample], np.linspace(0, 1, len(heights)), heights)
    for which, boxes, noise, outer in ((p.inner, p.boxes, p.inner_noise, 0), (p.outer, p.windows, p.outer_noise, 1)):
        for i, sample in enumerate(which.tolist()):
            samples[sample] = references.paint(samples[sample], boxes[i].numpy(), noise[i].numpy(), outer=bool(outer))
    assert np.abs(corrupted.numpy() - np.stack(samples)).max() < 1e-5
    assert all(len(which) for which in (p.flipped, p.shuffled, p.mapped, p.outer))


def test_kinds_happen_as_often_as_said(drawn):
    count = len(MANY)
    # flips: one with 0.4 * 0.6, two with 0.16 * 0.6 (a third of them undo each other), three with 0.064 (never undone)
    expected = {"flipped": 0.4 - 0.4 * 0.4 * 0.6 / 3, "mapped": 0.9, "inner": 0.9 * 0.2, "outer": 0.9 * 0.8}
    for kind, share in expected.items():
        assert abs(len(getattr(drawn, kind)) / count - share) < binomial(count, share), kind
    shuffled = GenesisCorruption(**{**ALONE, "shuffle": 0.5}).draw(torch.arange(300), (1, 8, 8, 8)).shuffled
    assert abs(len(shuffled) / 300 - 0.5) < binomial(300, 0.5)


def test_axes_are_flipped_alike(drawn):
    assert stats.chisquare(drawn.axes.sum(0).numpy()).pvalue > 1e-3


def test_half_of_the_maps_fall(drawn):
    assert abs(drawn.decreasing.float().mean() - 0.5) < binomial(len(drawn.decreasing), 0.5)
    assert stats.kstest(drawn.control.flatten().numpy(), "uniform").pvalue > 1e-3
    heights = tabulate_curves(drawn.control[:50], drawn.decreasing[:50])
    assert torch.equal(heights[:, 0] > heights[:, -1], drawn.decreasing[:50])


def test_boxes_have_the_stated_sizes_and_numbers(drawn):
    there = (drawn.boxes[:, :, 0] != drawn.boxes[:, :, 1]).all(2)
    counts = np.bincount(there.sum(1).numpy(), minlength=6)
    expected = [0.05 * 0.95**k for k in range(5)] + [0.95**5]
    assert stats.chisquare(counts, np.array(expected) * counts.sum()).pvalue > 1e-3
    low, high = drawn.boxes[there].unbind(1)
    for axis, side in enumerate((36, 24, 18)):
        sizes, found = (high - low)[:, axis].unique(return_counts=True)
        assert sizes.tolist() == list(range(side // 6, side // 3 + 1))
        assert stats.chisquare(found.numpy()).pvalue > 1e-3
        assert low[:, axis].min() == 3
        assert high[:, axis].max() == side - 3


def test_windows_have_the_stated_sizes_and_numbers(drawn):
    there = (drawn.windows[:, :, 0] != drawn.windows[:, :, 1]).all(2)
    assert there[:, 0].all()
    counts = np.bincount(there.sum(1).numpy(), minlength=6)[1:]
    expected = [0.05 * 0.95**k for k in range(4)] + [0.95**4]
    assert stats.chisquare(counts, np.array(expected) * counts.sum()).pvalue > 1e-3
    low, high = drawn.windows[there].unbind(1)
    for axis, side in enumerate((36, 24, 18)):
        sizes = (high - low)[:, axis].unique().tolist()
        assert sizes == list(range(side - 4 * side // 7, side - 3 * side // 7 + 1))
        assert low[:, axis].min() >= 3
        assert high[:, axis].max() <= side - 3


def test_blocks_have_the_stated_sizes_and_places():
    blocks = draw_blocks(torch.arange(4), (64, 64, 32))
    for axis, side in enumerate((64, 64, 32)):
        sizes = blocks.sides[:, axis].flatten()
        assert stats.chisquare(np.bincount(sizes.numpy())[1:]).pvalue > 1e-3
        assert sizes.unique().tolist() == list(range(1, side // 10 + 1))
        whole = blocks.starts[:, axis].flatten()[sizes == 2]
        assert stats.chisquare(np.bincount(whole.numpy(), minlength=side - 1)).pvalue > 1e-3


def test_orders_are_uniform_permutations():
    volumes = block_classes((30, 20, 20)).prod(1).tolist()
    orders = draw_orders(torch.arange(600), (30, 20, 20)).flatten(0, 2)
    for order in orders[:3].split(volumes, 1):
        assert all(sorted(row) == list(range(order.shape[1])) for row in order.tolist())
    three = orders.split(volumes, 1)[volumes.index(3)].tolist()
    found = [three.count(list(order)) for order in itertools.permutations(range(3))]
    assert stats.chisquare(found).pvalue > 1e-3
    twelve = orders.split(volumes, 1)[volumes.index(12)]
    table = torch.stack([twelve[:, lane].bincount(minlength=12) for lane in range(12)])
    assert stats.chisquare(table.numpy(), axis=None).pvalue > 1e-3


def test_permutations_of_blocks_are_uniform():
    """The composition of two permutations around a shift, which the blocks use, over samples and blocks."""
    shape = (30, 10, 10)  # classes of one, two and three voxels
    blocks = draw_blocks(torch.arange(40), shape, 600)
    found = dict.fromkeys(itertools.permutations(range(3)), 0)
    offset = 3  # lanes of the classes before
    for sample, block in (blocks.sides[:, 0] == 3).nonzero().tolist():
        first, second, shift = blocks.picks[sample, :, block].tolist()
        inner = blocks.orders[sample, 0, first, offset:].tolist()
        outer = blocks.orders[sample, 1, second, offset:].tolist()
        found[tuple(outer[(lane + shift) % 3] for lane in inner)] += 1
    share = np.array(list(found.values())) / sum(found.values())
    # The 16 pairs of a sample are shared by its 200 blocks: 40 * 16 independent pairs bound the accuracy.
    assert np.abs(share - 1 / 6).max() < 5 * (1 / 6 * 5 / 6 / (40 * 16)) ** 0.5


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ({"shuffle": 1}, 0.72, 0.82),  # 81 % of the voxels lie under a block; some are their own source
        ({"nonlinear": 1}, 0.99, 1),
        ({"paint": 1, "inner": 1}, 0.02, 0.12),
        ({"paint": 1, "inner": 0}, 0.35, 0.75),
    ],
)
def test_share_of_voxels_changed(kind, low, high, generator):
    cubes = torch.rand(24, 1, 64, 64, 32, generator=generator)
    corrupted, target = GenesisCorruption(**{**ALONE, **kind})(cubes, torch.arange(24))
    assert torch.equal(target, cubes)
    assert low < (corrupted != target).float().mean() < high
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1


def test_flips_alone_change_input_and_target_alike(generator):
    cubes = torch.rand(64, 1, 16, 16, 16, generator=generator)
    before = cubes.clone()
    corrupted, target = GenesisCorruption(**{**ALONE, "flip": 1})(cubes, torch.arange(64))
    assert torch.equal(corrupted, target)
    assert not torch.equal(target, cubes)
    assert torch.equal(cubes, before)
    assert torch.equal(target.flatten(1).sort(1).values, cubes.flatten(1).sort(1).values)


def test_target_is_only_flipped_and_values_stay_in_range(generator):
    cubes = torch.rand(32, 1, 20, 20, 20, generator=generator)
    cubes[:, :, :10] = (cubes[:, :, :10] > 0.5).float()  # scans are full of zeros and ones
    corrupted, target = GenesisCorruption()(cubes, torch.arange(32))
    assert torch.equal(target.flatten(1).sort(1).values, cubes.flatten(1).sort(1).values)
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1
    assert corrupted.dtype == cubes.dtype


def test_nothing_chosen_changes_nothing(generator):
    cubes = torch.rand(3, 1, 8, 8, 8, generator=generator)
    corrupted, target = GenesisCorruption(**ALONE)(cubes)
    assert torch.equal(corrupted, cubes)
    assert torch.equal(target, cubes)
    assert corrupted.data_ptr() != cubes.data_ptr()


def test_generator_draws_the_seeds():
    cubes = torch.rand(4, 1, 16, 16, 16)
    first, second, other = (GenesisCorruption(generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    result = first(cubes)[0]
    assert torch.equal(result, second(cubes)[0])
    assert not torch.equal(result, other(cubes)[0])
    assert not torch.equal(result, first(cubes)[0])


def test_no_gradient_is_recorded():
    cubes = torch.rand(4, 1, 16, 16, 16, requires_grad=True)
    for result in GenesisCorruption()(cubes, torch.arange(4)):
        assert not result.requires_grad


def test_meta_tensors_give_plain_tensors():
    plain = torch.rand(4, 1, 16, 16, 16)
    corrupted, target = GenesisCorruption()(MetaTensor(plain), torch.arange(4))
    assert type(corrupted) is torch.Tensor
    assert type(target) is torch.Tensor
    assert torch.equal(corrupted, GenesisCorruption()(plain, torch.arange(4))[0])


def test_prepare_batch(generator):
    cubes, seeds = torch.rand(4, 1, 16, 16, 16, generator=generator), torch.arange(4)
    labels = {"modality": torch.tensor([0, 1, 0, 1]), "scale": torch.tensor([0, 1, 2, 0])}
    batch = {"image": cubes, "seed": seeds, "case": ["a"] * 4, **labels}
    inputs, targets = GenesisCorruption().prepare_batch(batch, torch.device("cpu"), non_blocking=True)
    corrupted, target = GenesisCorruption()(cubes, seeds)
    assert torch.equal(inputs, corrupted)
    assert torch.equal(targets.pop("restoration"), target)
    assert torch.equal(targets.pop("changed"), corrupted != target)
    assert targets.keys() == labels.keys()
    assert all(torch.equal(targets[name], labels[name]) for name in labels)
    assert GenesisCorruption().prepare_batch({"image": cubes})[1].keys() == {"restoration", "changed"}


@pytest.mark.parametrize("name", ["flip", "shuffle", "nonlinear", "paint", "inner"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_ill_formed_probabilities_are_named(name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected a probability in \[0, 1\], found {value}"):
        GenesisCorruption(**{name: value})


@pytest.mark.parametrize(
    ("settings", "shape", "least"),
    [({}, (16, 13, 16), 14), ({"inner": 1}, (16, 7, 16), 8), ({"inner": 0}, (8, 8, 8), 14)],
)
def test_cubes_too_small_to_paint_are_named(settings, shape, least):
    with pytest.raises(
        ValueError, match=rf"cubes: painting needs sides of at least {least} voxels, found \({shape[0]}, "
    ):
        GenesisCorruption(**settings)(torch.zeros(2, 1, *shape))


@pytest.mark.parametrize(
    ("settings", "shape"),
    [({"paint": 1}, (14, 14, 14)), ({"paint": 1, "inner": 1}, (8, 8, 8)), ({"paint": 0}, (2, 2, 2))],
)
def test_smallest_cubes(settings, shape):
    corrupted, _ = GenesisCorruption(shuffle=1, **settings)(torch.rand(20, 1, *shape), torch.arange(20))
    assert corrupted.shape == (20, 1, *shape)


@pytest.mark.parametrize("seeds", [[1, 2, 3], torch.zeros(2, 2, dtype=torch.int64)])
def test_wrong_number_of_seeds_is_named(seeds):
    with pytest.raises(ValueError, match="seeds: expected one for each of 2 cubes, found shape"):
        GenesisCorruption()(torch.zeros(2, 1, 16, 16, 16), seeds)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu_and_does_not_wait(generator):
    cubes, seeds = torch.rand(6, 1, 32, 32, 32, generator=generator), torch.arange(6)
    expected = GenesisCorruption()(cubes, seeds)
    on_device = cubes.cuda()
    GenesisCorruption()(on_device, seeds)  # builds the tables
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = GenesisCorruption()(on_device, seeds)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for result, other in zip(results, expected, strict=True):
        assert torch.allclose(result.cpu(), other, atol=1e-6)


def test_corrupt_applies_given_parameters(generator):
    cubes, corruption = torch.rand(5, 1, 16, 16, 16, generator=generator), GenesisCorruption()
    parameters = corruption.draw(torch.arange(5), cubes.shape[1:])
    results = zip(corrupt(cubes, parameters), corruption(cubes, torch.arange(5)), strict=True)
    assert all(torch.equal(a, b) for a, b in results)


@pytest.mark.parametrize(("shape", "side", "share"), [((16, 16, 16), 8, 0.6), ((24, 16, 20), 6, 0.5)])
def test_the_same_share_of_every_cube_is_masked(shape, side, share, generator):
    cubes, seeds = torch.rand(5, 2, *shape, generator=generator) + 0.1, torch.arange(5)
    corruption = GenesisCorruption(**ALONE, mask=share, mask_side=side)
    corrupted, target = corruption(cubes, seeds)
    masked = corruption.draw(seeds, cubes.shape[1:]).masked
    assert torch.equal(target, cubes)
    assert set(masked.flatten(1).sum(1).tolist()) == {round(share * masked[0].numel())}
    assert not torch.equal(masked[0], masked[1])
    for cube, result, blocks in zip(cubes.numpy(), corrupted.numpy(), masked.numpy(), strict=True):
        assert np.array_equal(result, references.mask(cube, blocks, side))
    alone = corruption(cubes[3:4], seeds[3:4])[0]
    assert torch.equal(alone[0], corrupted[3])


def test_every_block_is_masked_as_often():
    masked = GenesisCorruption(**ALONE, mask=0.25).draw(MANY, (1, 16, 16, 16)).masked
    assert (masked.float().mean(0) - 0.25).abs().max() < binomial(len(MANY), 0.25)


def test_masking_changes_nothing_else_that_is_drawn(generator):
    cubes, seeds = torch.rand(6, 1, 16, 16, 16, generator=generator), torch.arange(6)
    plain, masked = GenesisCorruption()(cubes, seeds), GenesisCorruption(mask=0.5)(cubes, seeds)
    assert torch.equal(plain[1], masked[1])
    kept = masked[0] != 0
    assert torch.equal(plain[0][kept], masked[0][kept])


def test_maps_decrease_as_often_as_said():
    share = GenesisCorruption(**{**ALONE, "nonlinear": 1}, decreasing=0.2).draw(MANY, (1, 16, 16, 16)).decreasing
    assert abs(share.float().mean() - 0.2) < binomial(len(MANY), 0.2)


@pytest.mark.parametrize(
    ("settings", "said"), [({"mask": 1.5}, "mask: "), ({"mask_side": 0}, "mask_side: expected a whole")]
)
def test_masks_that_make_no_sense_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        GenesisCorruption(**settings)
