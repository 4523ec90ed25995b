# SPDX-License-Identifier: Apache-2.0
"""The fast sliding window predicts what MONAI's predicts, and does not modify the network."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SlidingWindowInferer

from universal_model_components.inference.folding import MergedUpBlock, fold_normalization, merge_upsampling
from universal_model_components.inference.sliding_window import FastSlidingWindowInferer
from universal_model_components.method.models import SegmentationModel
from universal_model_components.method.unet import UNet, UpBlock

WINDOWS = {"roi_size": (16, 16, 8), "overlap": 0.25, "mode": "gaussian"}


@pytest.fixture
def network(generator) -> SegmentationModel:
    """A network whose batch norms have seen data, with scales and shifts of their own."""
    network = SegmentationModel(features=[4, 8, 16])
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "norm" in name:
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
        for _ in range(3):
            network(1 + torch.rand(2, 1, 16, 16, 8, generator=generator))
    return network.eval()


@pytest.mark.parametrize("shape", [(1, 1, 20, 25, 13), (2, 1, 16, 16, 8), (1, 1, 8, 30, 6)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fold": "false"},
        {"merge": False},
        {"channels_last": False},
        {"fold": False, "merge": False, "channels_last": False},
        {"sw_batch_size": 1},
        {"sw_batch_size": 3},
    ],
)
@torch.no_grad()
def test_it_predicts_as_monais(network, generator, shape, settings):
    volume = torch.rand(shape, generator=generator)
    expected = SlidingWindowInferer(**WINDOWS)(volume, network)
    found = FastSlidingWindowInferer(**WINDOWS, **settings)(volume, network)
    assert expected.std() > 0.005
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_folding_removes_every_batch_norm_and_touches_nothing(network, generator):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_normalization(network)
    assert not any(isinstance(part, torch.nn.BatchNorm3d) for part in folded.modules())
    volume = torch.rand(2, 1, 16, 16, 8, generator=generator)
    torch.testing.assert_close(folded(volume), network(volume), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("sides", [(4, 4, 2), (3, 5, 2), (1, 1, 1)])
@pytest.mark.parametrize("folded", [True, False])
@torch.no_grad()
def test_merged_block_is_the_block(generator, sides, folded):
    block = UpBlock(6, 4).eval()
    block.block.norm1.running_mean += torch.rand(4, generator=generator)
    block.up.bias += 1  # visible at the border of the cube
    x = torch.rand(2, 6, *sides, generator=generator)
    skip = torch.rand(2, 4, *(2 * side for side in sides), generator=generator)
    merged = MergedUpBlock(fold_normalization(block) if folded else block)
    torch.testing.assert_close(merged(x, skip), block(x, skip), rtol=1e-4, atol=1e-5)
    last = torch.channels_last_3d
    found = merged(x.contiguous(memory_format=last), skip.contiguous(memory_format=last))
    torch.testing.assert_close(found, block(x, skip), rtol=1e-4, atol=1e-5)


def test_merging_replaces_every_up_block_of_a_copy(network):
    merged = merge_upsampling(network)
    assert not any(isinstance(part, UpBlock) for part in merged.modules())
    assert sum(isinstance(part, MergedUpBlock) for part in merged.modules()) == 2
    assert sum(isinstance(part, UpBlock) for part in network.modules()) == 2


@torch.no_grad()
def test_new_weights_are_seen(network, generator):
    volume, inferer = torch.rand(1, 1, 16, 16, 8, generator=generator), FastSlidingWindowInferer(**WINDOWS)
    first = inferer(volume, network)
    network.decoder.head.bias += 1
    torch.testing.assert_close(inferer(volume, network), first + 1, rtol=1e-4, atol=1e-5)


def test_what_must_not_be_prepared_is_called_as_it_is(network):
    inferer = FastSlidingWindowInferer(**WINDOWS)
    assert inferer.prepare(network) is network  # gradients are on
    with torch.no_grad():
        assert inferer.prepare(network) is not network
        assert inferer.prepare(network.train()) is network
        network.eval()
        scripted = torch.jit.script(network)
        assert inferer.prepare(scripted) is scripted
        plain = torch.nn.Conv3d(1, 1, 1).eval()
        assert inferer.prepare(plain) is plain
        network.encoder.register_forward_hook(lambda *_: None)
        assert inferer.prepare(network) is network


@torch.no_grad()
def test_compiled_once_for_a_set_of_weights(network, generator, monkeypatch):
    compiled = []
    # what a C++ compiler would make is left out; what is compiled, when, and on which shapes is not
    monkeypatch.setattr(torch, "compile", lambda part, **_: compiled.append(part) or _Recorded(part, shapes))
    shapes: list[tuple[int, ...]] = []
    volume = torch.rand(1, 1, 20, 25, 13, generator=generator)
    inferer = FastSlidingWindowInferer(**WINDOWS, sw_batch_size=3, compile=True)
    expected = SlidingWindowInferer(**WINDOWS)(volume, network)
    for _ in range(2):
        torch.testing.assert_close(inferer(volume, network), expected, rtol=1e-4, atol=1e-5)
    assert len(compiled) == 1
    assert set(shapes) == {(3, 1, 16, 16, 8)}
    network.decoder.head.bias += 1
    torch.testing.assert_close(inferer(volume, network), expected + 1, rtol=1e-4, atol=1e-5)
    assert len(compiled) == 2


class _Recorded:
    def __init__(self, network: UNet, shapes: list) -> None:
        self.network, self.shapes = network, shapes

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(windows.shape))
        return self.network(windows)


def test_what_is_made_of_a_network_is_in_full_precision_under_autocast(network, generator):
    inferer, image = FastSlidingWindowInferer(**WINDOWS), torch.rand(1, 1, 16, 16, 8, generator=generator)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            made = inferer.prepare(network)
        assert {tensor.dtype for tensor in made.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
        torch.testing.assert_close(inferer(image, network), network(image), rtol=1e-3, atol=1e-4)
