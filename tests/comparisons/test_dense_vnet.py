# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from functional_layers import convolve, normalize, randomize_statistics
from torch import nn
from torch.nn.functional import conv3d, interpolate, pad

from universal_model_components.comparisons.dense_vnet import (
    ConvNorm,
    DenseStack,
    DenseVNetClassification,
    DenseVNetDecoder,
    DenseVNetEncoder,
    DenseVNetSegmentation,
)

NARROW = 6


def reference_layer(state, name, x, stride=1, activation=True):
    x = normalize(state, f"{name}.norm", convolve(x, state[f"{name}.conv.weight"], stride), eps=1e-5)
    return x.clamp(min=0) if activation else x


def reference_average(x):
    """TensorFlow's average over 3³ with stride 2: the sum over what is within, divided by how much that is."""
    kernel, behind = torch.ones(1, 1, 3, 3, 3), (0, 1, 0, 1, 0, 1)
    total = conv3d(pad(x, behind), kernel, stride=2)
    return total / conv3d(pad(torch.ones_like(x), behind), kernel, stride=2)


def reference_stack(state, name, x, layers):
    outputs = [x]
    for place in range(layers):
        outputs.append(reference_layer(state, f"{name}.layers.{place}", torch.cat(outputs, dim=1)))
    return torch.cat(outputs, dim=1)


def reference_network(state, image):
    small = normalize(state, "encoder.pool_norm", reference_average(image), eps=1e-5)
    x = torch.cat([small, reference_layer(state, "encoder.stem", image, stride=2, activation=False)], dim=1)
    skips = []
    for number, layers in enumerate([5, 10, 10], 1):
        x = reference_stack(state, f"encoder.stack_{number}", x, layers)
        skip = reference_layer(state, f"decoder.skips.{number - 1}", x)
        skips.append(interpolate(skip, scale_factor=2.0 ** (number - 1), mode="trilinear"))
        if number < 3:
            x = reference_layer(state, f"encoder.down_{number}", x, stride=2)
    head = state["decoder.head.weight"], state["decoder.head.bias"]
    return interpolate(conv3d(torch.cat([*skips, small], dim=1), *head, padding=1), scale_factor=2.0, mode="trilinear")


@pytest.mark.parametrize(("classes", "count"), [[2, 866_978], [9, 878_514]])
def test_parameters_at_full_width(classes, count):
    with torch.device("meta"):
        network = DenseVNetSegmentation(out_channels=classes)
    assert sum(p.numel() for p in network.parameters()) == count


def test_levels_at_full_width():
    with torch.device("meta"):
        encoder = DenseVNetEncoder()
        levels = encoder(torch.zeros(1, 1, 64, 32, 16))
        logits = DenseVNetDecoder(encoder.features, out_channels=9)(levels)
    shapes = [(1, 32, 16, 8), (45, 32, 16, 8), (104, 16, 8, 4), (184, 8, 4, 2)]
    assert [tuple(level.shape[1:]) for level in levels] == shapes
    assert logits.shape == (1, 9, 64, 32, 16)


@pytest.mark.parametrize("width", [NARROW, 24])
def test_forward_is_the_references(width, generator):
    network = randomize_statistics(DenseVNetSegmentation(out_channels=2, width=width))
    image = torch.rand(2, 1, 16, 24, 8, generator=generator)
    with torch.no_grad():
        expected = reference_network(network.state_dict(), image)
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)


def test_layers_have_the_constants_of_the_original():
    network = DenseVNetSegmentation()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}
    biased = [name for name, m in network.named_modules() if isinstance(m, nn.Conv3d) and m.bias is not None]
    assert biased == ["decoder.head"]
    assert isinstance(network.encoder.stem.activation, nn.Identity)
    assert isinstance(network.encoder.down_1, ConvNorm)


def test_dropout_spares_the_last_convolution_and_evaluation(generator):
    stack, x = DenseStack(2, layers=2, growth=3, dropout=1.0), torch.rand(1, 2, 4, 4, 4, generator=generator)
    out = stack(x)
    assert torch.equal(out[:, :2], x)
    assert not out[:, 2:5].any()
    assert out[:, 5:].any()
    assert stack.eval()(x)[:, 2:5].any()
    assert DenseVNetEncoder().stack_3.dropout.p == 0.5


@pytest.mark.parametrize(
    ("network", "out_shape"),
    [
        [DenseVNetSegmentation(width=NARROW), (2, 1, 16, 8, 24)],
        [DenseVNetClassification(width=NARROW, num_classes=3, hidden_channels=8), (2, 3)],
    ],
)
def test_shape_and_script(network, out_shape, generator, tmp_path):
    network = network.eval()
    image = torch.rand(2, 1, 16, 8, 24, generator=generator)
    with torch.no_grad():
        expected = network(image)
        assert expected.shape == out_shape
        torch.jit.save(torch.jit.script(network), tmp_path / "network.ts")
        torch.testing.assert_close(torch.jit.load(tmp_path / "network.ts")(image), expected)


def test_classification_reads_all_three_stacks(generator):
    network = DenseVNetClassification(width=NARROW, hidden_channels=8).eval()
    image = torch.rand(1, 1, 8, 8, 8, generator=generator)
    with torch.no_grad():
        pooled = torch.cat([level.mean(dim=[2, 3, 4]) for level in network.encoder(image)[1:]], dim=1)
        expected = network.classifier.output(network.classifier.hidden(pooled).clamp(min=0))
        torch.testing.assert_close(network(image), expected)


def test_sides_and_width_are_checked():
    with pytest.raises(ValueError, match=r"divisible by \[8, 8, 8\]"):
        DenseVNetSegmentation(width=NARROW)(torch.zeros(1, 1, 8, 8, 12))
    with pytest.raises(ValueError, match="width must be a positive multiple of 6, got 4"):
        DenseVNetEncoder(width=4)
