# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from universal_model_components.method.losses import UniversalObjective, restoration_loss


def test_restoration_loss_is_the_mean_over_voxels(generator):
    logits = torch.randn(2, 1, 3, 4, 5, generator=generator)
    target = torch.rand(2, 1, 3, 4, 5, generator=generator)
    pairs = zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True)
    by_hand = sum((1 / (1 + math.exp(-x)) - y) ** 2 for x, y in pairs) / target.numel()
    assert math.isclose(restoration_loss(logits, target).item(), by_hand, rel_tol=1e-5)


def test_restoration_loss_is_float32_for_half_precision_logits(generator):
    logits = torch.randn(1, 1, 4, 4, 4, generator=generator).bfloat16()
    assert restoration_loss(logits, torch.rand(1, 1, 4, 4, 4, generator=generator)).dtype == torch.float32


def test_objective_by_hand():
    logits = {
        "restoration": torch.zeros(1, 1, 1, 1, 2),
        "modality": torch.tensor([[0.0, math.log(3)]]),
        "scale": torch.tensor([[0.0, 0.0, math.log(2)]]),
    }
    targets = {
        "restoration": torch.tensor([0.5, 1.0]).view(1, 1, 1, 1, 2),
        "modality": torch.tensor([0]),
        "scale": torch.tensor([2]),
    }
    losses = UniversalObjective(alpha=2, beta=8)(logits, targets)
    torch.testing.assert_close(losses["restoration"].item(), 0.125)
    torch.testing.assert_close(losses["modality"].item(), math.log(4))
    torch.testing.assert_close(losses["scale"].item(), math.log(2))
    torch.testing.assert_close(losses["loss"].item(), 8 * 0.125 + math.log(4) + 2 * math.log(2))


def test_voxels_that_are_unchanged_may_weigh_less(generator):
    logits, target = torch.randn(2, 1, 3, 4, 5, generator=generator), torch.rand(2, 1, 3, 4, 5, generator=generator)
    changed = torch.rand(target.shape, generator=generator) < 0.3
    total = weights = 0.0
    for x, y, is_changed in zip(logits.flatten().tolist(), target.flatten().tolist(), changed.flatten(), strict=True):
        weight = 1.0 if is_changed else 0.25
        total, weights = total + weight * (1 / (1 + math.exp(-x)) - y) ** 2, weights + weight
    losses = UniversalObjective(unchanged_weight=0.25)(
        {"restoration": logits}, {"restoration": target, "changed": changed}
    )
    assert math.isclose(losses["restoration"].item(), total / weights, rel_tol=1e-5)
    nothing = {"restoration": target, "changed": torch.zeros_like(changed)}
    assert UniversalObjective(unchanged_weight=0)({"restoration": logits}, nothing)["loss"] == 0


@pytest.mark.parametrize("mean_weight", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("unchanged_weight", [0.25, 1.0])
def test_the_mean_error_of_a_cube_may_weigh_less(generator, mean_weight, unchanged_weight):
    logits, target = torch.randn(3, 1, 3, 4, 5, generator=generator), torch.rand(3, 1, 3, 4, 5, generator=generator)
    changed = torch.rand(target.shape, generator=generator) < 0.3
    total = weights = 0.0
    for cube in range(3):  # around its mean error, and the mean error itself, voxel by voxel
        error = [
            1 / (1 + math.exp(-x)) - y for x, y in zip(logits[cube].flatten(), target[cube].flatten(), strict=True)
        ]
        weight = [1.0 if is_changed else unchanged_weight for is_changed in changed[cube].flatten().tolist()]
        level = sum(w * e for w, e in zip(weight, error, strict=True)) / sum(weight)
        parts = [w * ((e - level) ** 2 + mean_weight * level**2) for w, e in zip(weight, error, strict=True)]
        total, weights = total + sum(parts), weights + sum(weight)
    losses = UniversalObjective(unchanged_weight=unchanged_weight, mean_weight=mean_weight)(
        {"restoration": logits}, {"restoration": target, "changed": changed}
    )
    assert math.isclose(losses["restoration"].item(), total / weights, rel_tol=1e-4)


def test_a_wrong_brightness_alone_costs_nothing_where_it_has_no_weight(generator):
    target = torch.rand(2, 1, 4, 4, 4, generator=generator) / 2 + 0.2
    brighter = torch.logit(target + torch.tensor([0.1, 0.2]).view(2, 1, 1, 1, 1))
    assert restoration_loss(brighter, target, mean_weight=0).item() < 1e-8
    torch.testing.assert_close(restoration_loss(brighter, target).item(), (0.01 + 0.04) / 2, rtol=1e-4, atol=0)


def test_parts_that_are_switched_off_are_left_out():
    losses = UniversalObjective()(
        {"restoration": torch.zeros(1, 1, 2, 2, 2)}, {"restoration": torch.ones(1, 1, 2, 2, 2)}
    )
    assert set(losses) == {"restoration", "loss"}
    assert losses["loss"] == 10 * losses["restoration"]
