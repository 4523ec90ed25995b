# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from functional_layers import normalize, randomize_statistics
from monai.networks.nets import ResNet, resnet101
from torch import nn
from torch.nn.functional import conv3d, max_pool3d

from universal_model_components.comparisons.med3d import (
    Med3DClassification,
    Med3DEncoder,
    Med3DSegmentation,
    dilate,
)

NARROW = {"width": 2, "layers": [1, 2, 2, 1]}
LEVELS = {
    True: [(64, 16, 16, 32), (256, 8, 8, 16), (512, 4, 4, 8), (1024, 4, 4, 8), (2048, 4, 4, 8)],
    False: [(64, 16, 16, 32), (256, 8, 8, 16), (512, 4, 4, 8), (1024, 2, 2, 4), (2048, 1, 1, 2)],
}


def spread(kernel, dilation):
    """The kernel of a dilated convolution: a larger one, with zeros between its taps."""
    side = 2 * dilation + 1
    large = torch.zeros(*kernel.shape[:2], side, side, side)
    large[:, :, ::dilation, ::dilation, ::dilation] = kernel
    return large


def reference_block(state, name, x, stride, dilation):
    def norm(number, y):
        return normalize(state, f"{name}.bn{number}", y, eps=1e-5)

    y = norm(1, conv3d(x, state[f"{name}.conv1.weight"])).clamp(min=0)
    kernel = spread(state[f"{name}.conv2.weight"], dilation)
    y = norm(2, conv3d(y, kernel, stride=stride, padding=dilation)).clamp(min=0)
    y = norm(3, conv3d(y, state[f"{name}.conv3.weight"]))
    if f"{name}.downsample.0.weight" in state:
        x = conv3d(x, state[f"{name}.downsample.0.weight"], stride=stride)
        x = normalize(state, f"{name}.downsample.1", x, eps=1e-5)
    return (x + y).clamp(min=0)


def reference_levels(state, image, layers):
    x = conv3d(image, state["conv1.weight"], stride=2, padding=3)
    levels = [normalize(state, "bn1", x, eps=1e-5).clamp(min=0)]
    x = max_pool3d(levels[0], 3, stride=2, padding=1)
    for number, (blocks, stride, dilation) in enumerate(zip(layers, [1, 2, 1, 1], [1, 1, 2, 4], strict=True), 1):
        for block in range(blocks):
            x = reference_block(state, f"layer{number}.{block}", x, stride if block == 0 else 1, dilation)
        levels.append(x)
    return levels


@pytest.mark.parametrize("dilated", [True, False])
def test_parameters_and_levels_at_full_width(dilated):
    with torch.device("meta"):
        encoder = Med3DEncoder(dilated=dilated)
        levels = encoder(torch.zeros(1, 1, 32, 32, 64))
    assert sum(p.numel() for p in encoder.parameters()) == 85_201_216
    assert [tuple(level.shape[1:]) for level in levels] == LEVELS[dilated]


def test_tensors_are_those_of_monais_resnet101():
    options = {"shortcut_type": "B", "bias_downsample": False, "feed_forward": False, "conv1_t_stride": 2}
    with torch.device("meta"):
        own = Med3DEncoder().state_dict()
        theirs = resnet101(spatial_dims=3, n_input_channels=1, **options).state_dict()
    assert {name: tensor.shape for name, tensor in own.items()} == {n: t.shape for n, t in theirs.items()}


def test_dilated_levels_are_the_references(generator):
    encoder = randomize_statistics(Med3DEncoder(**NARROW))
    image = torch.rand(2, 1, 24, 16, 32, generator=generator)
    with torch.no_grad():
        expected = reference_levels(encoder.state_dict(), image, NARROW["layers"])
        for level, reference in zip(encoder(image), expected, strict=True):
            torch.testing.assert_close(level, reference, rtol=1e-4, atol=1e-5)


def test_strided_it_is_monais_resnet(generator):
    encoder = randomize_statistics(Med3DEncoder(**NARROW, dilated=False))
    options = {"n_input_channels": 1, "conv1_t_stride": 2, "feed_forward": False, "bias_downsample": False}
    resnet = ResNet("bottleneck", NARROW["layers"], [2, 4, 8, 16], **options).eval()
    resnet.load_state_dict(encoder.state_dict(), strict=True)
    image = torch.rand(2, 1, 32, 32, 64, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[-1].mean(dim=[2, 3, 4]), resnet(image))


def test_dilation_changes_no_weight_but_the_function(generator):
    strided, image = Med3DEncoder(**NARROW, dilated=False).eval(), torch.rand(1, 1, 32, 32, 32, generator=generator)
    dilated = Med3DEncoder(**NARROW).eval()
    dilated.load_state_dict(strided.state_dict(), strict=True)
    with torch.no_grad():
        before, after = strided(image), dilated(image)
        assert torch.equal(before[2], after[2])
        assert not torch.allclose(before[3], after[3][:, :, ::2, ::2, ::2])
        dilate(strided.layer3, 2)
        assert torch.equal(strided(image)[3], after[3])


@pytest.mark.parametrize(
    ("network", "out_shape"),
    [
        [Med3DSegmentation(**NARROW), (2, 1, 32, 32, 64)],
        [Med3DSegmentation(**NARROW, in_channels=2, out_channels=2, dilated=False), (2, 2, 32, 32, 64)],
        [Med3DClassification(**NARROW, num_classes=3, hidden_channels=8), (2, 3)],
    ],
)
def test_shape_and_script(network, out_shape, generator, tmp_path):
    network = network.eval()
    image = torch.rand(2, 1, 32, 32, 64, generator=generator)
    with torch.no_grad():
        expected = network(image)
        assert expected.shape == out_shape
        torch.jit.save(torch.jit.script(network), tmp_path / "network.ts")
        torch.testing.assert_close(torch.jit.load(tmp_path / "network.ts")(image), expected)


def test_norms_have_the_constants_of_the_original_and_sides_are_checked():
    encoder = Med3DEncoder(**NARROW)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm3d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}
    with pytest.raises(ValueError, match=r"divisible by \[8, 8, 8\]"):
        encoder(torch.zeros(1, 1, 8, 8, 12))
    with pytest.raises(ValueError, match=r"divisible by \[32, 32, 32\]"):
        Med3DEncoder(**NARROW, dilated=False)(torch.zeros(1, 1, 32, 32, 8))
