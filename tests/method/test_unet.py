# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from universal_model_components.method.unet import ConvBlock, Decoder, Encoder, UNet

CASES = [
    [{"features": [4, 8, 16, 32]}, (2, 1, 16, 16, 8), (2, 1, 16, 16, 8)],
    [{"features": [4, 8], "in_channels": 2, "out_channels": 3}, (1, 2, 8, 4, 2), (1, 3, 8, 4, 2)],
    [{"features": [2, 4, 6, 8, 10], "out_channels": 2}, (1, 1, 32, 16, 16), (1, 2, 32, 16, 16)],
]


@pytest.mark.parametrize(("kwargs", "in_shape", "out_shape"), CASES)
def test_shape_and_script(kwargs, in_shape, out_shape, generator):
    network = UNet(**kwargs).eval()
    image = torch.rand(in_shape, generator=generator)
    expected = network(image)
    assert expected.shape == out_shape
    torch.testing.assert_close(torch.jit.script(network)(image), expected)


def test_default_width_has_the_parameters_of_the_paper():
    with torch.device("meta"):
        network = UNet()
    assert sum(p.numel() for p in network.parameters()) == 19_073_665  # 19.07 M


def test_levels_halve_and_widen(generator):
    levels = Encoder(1, [4, 8, 16, 32])(torch.rand(1, 1, 32, 32, 16, generator=generator))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (4, 32, 32, 16),
        (8, 16, 16, 8),
        (16, 8, 8, 4),
        (32, 4, 4, 2),
    ]


def test_first_convolution_of_a_level_has_half_its_channels():
    with torch.device("meta"):
        convolutions = [(b.conv1.in_channels, b.conv1.out_channels, b.conv2.out_channels) for b in Encoder().levels]
    assert convolutions == [(1, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512)]


def test_output_is_logits_and_every_level_reaches_it(generator):
    network = UNet(features=[4, 8, 16, 32]).eval()
    image = torch.rand(1, 1, 16, 16, 8, generator=generator)
    levels = [level.detach().requires_grad_() for level in network.encoder(image)]
    logits = network.decoder(levels)
    logits.square().sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)
    torch.nn.init.constant_(network.decoder.head.bias, -50.0)
    assert network.decoder(levels).max() < 0  # no sigmoid inside


def test_block_equals_its_layers_written_out(generator):
    block = ConvBlock(1, 2, 3).train()
    x = torch.rand(2, 1, 4, 4, 4, generator=generator)
    y = x
    for convolution in (block.conv1, block.conv2):
        y = nn.functional.conv3d(y, convolution.weight, convolution.bias, padding=1)
        mean, variance = y.mean((0, 2, 3, 4), keepdim=True), y.var((0, 2, 3, 4), unbiased=False, keepdim=True)
        y = ((y - mean) / (variance + 1e-5).sqrt()).clamp_min(0)
    torch.testing.assert_close(block(x), y)


def test_decoder_holds_no_encoder():
    assert not [m for m in Decoder([4, 8]).modules() if isinstance(m, Encoder)]


@pytest.mark.parametrize("features", [[8], [8, 15], [8, 0], []])
def test_bad_features(features):
    with pytest.raises(ValueError, match="features must be two or more even positive"):
        Encoder(1, features)


def test_indivisible_side_is_named(generator):
    with pytest.raises(ValueError, match=r"divisible by 8, got shape \[1, 1, 16, 12, 8\]"):
        UNet(features=[4, 8, 16, 32])(torch.rand(1, 1, 16, 12, 8, generator=generator))
