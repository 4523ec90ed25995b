# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer

from universal_model_components import MixedPrecisionInferer, SegmentationModel


@pytest.fixture
def network() -> torch.nn.Module:
    return SegmentationModel(features=(4, 8, 8, 8)).eval()


def test_a_cpu_computes_in_bfloat16_and_the_logits_are_float32(network, generator):
    seen = []
    network.encoder.register_forward_hook(lambda part, inputs, outputs: seen.append(outputs[-1].dtype))
    image = torch.rand(2, 1, 32, 16, 16, generator=generator)
    exact = SimpleInferer()(image, network)
    mixed = MixedPrecisionInferer("true")(image, network)
    assert seen == [torch.float32, torch.bfloat16]
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - exact).abs().max() < 0.05 * exact.abs().max()


def test_gradients_are_those_of_float32_up_to_bfloat16s_rounding(network, generator):
    image = torch.rand(2, 1, 32, 16, 16, generator=generator)
    gradients = []
    for inferer in (MixedPrecisionInferer(False), MixedPrecisionInferer(True)):
        network.zero_grad()
        inferer(image, network).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    exact, mixed = gradients
    assert mixed.dtype == torch.float32
    assert torch.cosine_similarity(exact, mixed, dim=0) > 0.99
    assert not torch.equal(exact, mixed)


def test_switched_off_it_is_monais(network, generator):
    image = torch.rand(1, 1, 16, 16, 16, generator=generator)
    assert torch.equal(MixedPrecisionInferer()(image, network), SimpleInferer()(image, network))


def test_amp_must_be_a_boolean():
    with pytest.raises(ValueError, match="amp: 'perhaps' is not a boolean"):
        MixedPrecisionInferer("perhaps")
