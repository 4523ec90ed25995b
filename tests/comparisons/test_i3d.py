# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from functional_layers import convolve, normalize, randomize_statistics, tensorflow_pad
from torch import nn
from torch.nn.functional import max_pool3d

from universal_model_components.comparisons.i3d import (
    I3DClassification,
    I3DEncoder,
    I3DSegmentation,
    Mixed,
    Unit3D,
    scaled,
)

NARROW = 4


def reference_unit(state, name, x, stride=1):
    x = convolve(x, state[f"{name}.conv3d.weight"], stride)
    return normalize(state, f"{name}.bn", x, eps=1e-3).clamp(min=0)


def reference_pool(x, kernel, stride):
    """Max-pooling as the common port has it, padded with zeros: nothing that is pooled is negative."""
    return max_pool3d(tensorflow_pad(x, kernel, stride), kernel, stride)


def reference_mixed(state, name, x):
    branch_1 = reference_unit(state, f"{name}.b1b", reference_unit(state, f"{name}.b1a", x))
    branch_2 = reference_unit(state, f"{name}.b2b", reference_unit(state, f"{name}.b2a", x))
    branch_3 = reference_unit(state, f"{name}.b3b", reference_pool(x, (3, 3, 3), (1, 1, 1)))
    return torch.cat([reference_unit(state, f"{name}.b0", x), branch_1, branch_2, branch_3], dim=1)


def reference_levels(state, x):
    x = reference_unit(state, "Conv3d_1a_7x7", x, stride=2)
    levels = [x]
    x = reference_unit(state, "Conv3d_2b_1x1", reference_pool(x, (1, 3, 3), (1, 2, 2)))
    levels.append(reference_unit(state, "Conv3d_2c_3x3", x))
    groups = [("3b", "3c"), ("4b", "4c", "4d", "4e", "4f"), ("5b", "5c")]
    pools = [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))]
    for names, (kernel, stride) in zip(groups, pools, strict=True):
        x = reference_pool(levels[-1], kernel, stride)
        for name in names:
            x = reference_mixed(state, f"Mixed_{name}", x)
        levels.append(x)
    return levels


def test_parameters_and_levels_at_full_width():
    with torch.device("meta"):
        encoder, flow = I3DEncoder(), I3DEncoder(in_channels=2)
        levels = encoder(torch.zeros(1, 3, 32, 64, 64))
        logits = nn.Conv3d(encoder.features[-1], 400, kernel_size=1)
    count = sum(p.numel() for p in encoder.parameters())
    assert count == 12_287_264
    assert count + sum(p.numel() for p in logits.parameters()) == 12_697_264
    assert count - sum(p.numel() for p in flow.parameters()) == 64 * 7**3
    assert [tuple(level.shape[1:]) for level in levels] == [
        (64, 16, 32, 32),
        (192, 16, 16, 16),
        (480, 16, 8, 8),
        (832, 8, 4, 4),
        (1024, 4, 2, 2),
    ]


def test_names_are_those_of_the_public_checkpoints():
    names = set(I3DEncoder(width=NARROW).state_dict())
    blocks = ["3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"]
    units = ["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"]
    units += [f"Mixed_{block}.{branch}" for block in blocks for branch in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")]
    tensors = ["conv3d.weight", *(f"bn.{last}" for last in ("weight", "bias", "running_mean", "running_var"))]
    expected = {f"{unit}.{tensor}" for unit in units for tensor in [*tensors, "bn.num_batches_tracked"]}
    assert names == expected


@pytest.mark.parametrize("shape", [(2, 3, 8, 32, 32), (1, 1, 16, 64, 32)])
def test_every_level_is_the_references(shape, generator):
    encoder = randomize_statistics(I3DEncoder(width=NARROW))
    image = torch.rand(shape, generator=generator)
    with torch.no_grad():
        expected = reference_levels(encoder.state_dict(), image.expand(-1, 3, -1, -1, -1))
        for level, reference in zip(encoder(image), expected, strict=True):
            torch.testing.assert_close(level, reference, rtol=1e-4, atol=1e-5)


def test_layers_have_the_constants_of_the_original():
    encoder = I3DEncoder(width=NARROW)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm3d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert all(module.bias is None for module in encoder.modules() if isinstance(module, nn.Conv3d))
    assert [type(encoder.Conv3d_1a_7x7), type(encoder.Mixed_5c)] == [Unit3D, Mixed]


@pytest.mark.parametrize(
    ("network", "out_shape"),
    [
        [I3DSegmentation(width=NARROW, out_channels=2), (2, 2, 32, 64, 8)],
        [I3DSegmentation(in_channels=2, width=NARROW), (2, 1, 32, 64, 8)],
        [I3DClassification(width=NARROW, num_classes=3, hidden_channels=8), (2, 3)],
    ],
)
def test_shape_and_script(network, out_shape, generator, tmp_path):
    network = network.eval()
    image = torch.rand(2, 1, 32, 64, 8, generator=generator)  # the third axis is time, divisible by 8
    with torch.no_grad():
        expected = network(image)
        assert expected.shape == out_shape
        torch.jit.save(torch.jit.script(network), tmp_path / "network.ts")
        torch.testing.assert_close(torch.jit.load(tmp_path / "network.ts")(image), expected)


def test_sides_and_width_are_checked():
    with pytest.raises(ValueError, match=r"divisible by \[8, 32, 32\]"):
        I3DSegmentation(width=NARROW)(torch.zeros(1, 1, 16, 32, 8))
    with pytest.raises(ValueError, match="width must be a positive multiple of 4, got 6"):
        I3DEncoder(width=6)
    assert scaled([64, 24, 1024], 32) == [32, 12, 512]
