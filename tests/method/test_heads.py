# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from universal_model_components.method.heads import (
    ModalityDiscriminator,
    PooledClassifier,
    ScaleClassifier,
    reverse_gradient,
)

CASES = [
    [PooledClassifier, {"in_channels": 6, "hidden_channels": 5, "num_classes": 4}, (2, 6, 2, 2, 1), (2, 4)],
    [ScaleClassifier, {"in_channels": 8, "num_scales": 5}, (3, 8, 1, 2, 1), (3, 5)],
]


@pytest.mark.parametrize(("head", "kwargs", "in_shape", "out_shape"), CASES)
def test_shape_and_script(head, kwargs, in_shape, out_shape, generator):
    network = head(**kwargs)
    features = torch.rand(in_shape, generator=generator)
    assert network(features).shape == out_shape
    torch.testing.assert_close(torch.jit.script(network)(features), network(features))


def test_scale_classifier_has_1024_hidden_units():
    assert ScaleClassifier(8).hidden.out_features == 1024


@pytest.mark.parametrize("num_modalities", [2, 3])
def test_discriminator(num_modalities, generator):
    pooled = [
        torch.rand(2, f, 16 // 2**i, 16 // 2**i, 8 // 2**i, generator=generator) for i, f in enumerate([4, 8, 16])
    ]
    network = ModalityDiscriminator([4, 8, 16, 32], num_modalities).eval()
    assert network(pooled).shape == (2, num_modalities)
    assert [(s.conv1.in_channels, s.conv1.out_channels, s.conv2.out_channels) for s in network.stages] == [
        (4, 4, 4),
        (4 + 8, 8, 8),  # own features and the encoder's second pooled level
        (8 + 16, 16, 16),
    ]
    torch.testing.assert_close(torch.jit.script(network)(pooled), network(pooled))


def test_discriminator_reads_every_level_but_the_last(generator):
    pooled = [
        torch.rand(2, f, 16 // 2**i, 16 // 2**i, 8 // 2**i, generator=generator).requires_grad_()
        for i, f in enumerate([4, 8, 16])
    ]
    ModalityDiscriminator([4, 8, 16, 32])(pooled)[:, 0].sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in pooled)


def test_default_discriminator_is_small_beside_the_unet():
    with torch.device("meta"):
        network = ModalityDiscriminator()
    assert (network.stages[0].conv1.in_channels, network.classifier.hidden.in_features) == (64, 256)
    assert network.classifier.hidden.out_features == 64


def test_reversal_keeps_the_value_and_turns_the_gradient(generator):
    x = torch.randn(3, 4, generator=generator, dtype=torch.float32).requires_grad_()
    y = reverse_gradient(x)
    assert torch.equal(y, x)
    (y * torch.arange(12.0).view(3, 4)).sum().backward()
    assert torch.equal(x.grad, -torch.arange(12.0).view(3, 4))
    x.grad = None
    reversed_twice_as_strongly = reverse_gradient(x, 2.0)
    assert torch.equal(reversed_twice_as_strongly, x)
    reversed_twice_as_strongly.sum().backward()
    assert torch.equal(x.grad, torch.full((3, 4), -2.0))
    script = torch.jit.script(reverse_gradient)
    assert torch.equal(script(x), x)


def test_reversal_survives_saving(tmp_path, generator):
    class Reverse(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return reverse_gradient(x)

    torch.jit.save(torch.jit.script(Reverse()), tmp_path / "reverse.ts")
    x = torch.randn(3, generator=generator).requires_grad_()
    torch.jit.load(tmp_path / "reverse.ts")(x).sum().backward()
    assert torch.equal(x.grad, -torch.ones(3))
