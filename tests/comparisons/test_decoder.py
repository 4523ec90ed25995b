# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from universal_model_components.comparisons.decoder import ScaledUpBlock, SkipDecoder
from universal_model_components.method.unet import UpBlock


@pytest.mark.parametrize(
    ("scale", "coarse", "fine"),
    [[(2, 2, 2), (2, 4, 2), (4, 8, 4)], [(1, 2, 2), (2, 4, 2), (2, 8, 4)], [(1, 1, 1), (2, 4, 2), (2, 4, 2)]],
)
def test_up_block_takes_any_scale(scale, coarse, fine, generator):
    block = ScaledUpBlock(6, 4, scale)
    out = block(torch.rand(2, 6, *coarse, generator=generator), torch.rand(2, 4, *fine, generator=generator))
    assert out.shape == (2, 4, *fine)
    assert isinstance(block.up, nn.Identity) == (scale == (1, 1, 1))


def test_at_scale_two_it_is_the_block_of_the_unet(generator):
    ours, theirs = ScaledUpBlock(6, 4, (2, 2, 2)).eval(), UpBlock(6, 4).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, skip = torch.rand(1, 6, 2, 2, 2, generator=generator), torch.rand(1, 4, 4, 4, 4, generator=generator)
    assert torch.equal(ours(x, skip), theirs(x, skip))


def test_every_level_reaches_the_logits(generator):
    decoder = SkipDecoder([4, 6, 8], [(2, 2, 2), (1, 2, 2), (1, 1, 1)], out_channels=3).eval()
    sides = [(4, 4, 4), (4, 2, 2), (4, 2, 2)]
    levels = [
        torch.rand(1, width, *shape, generator=generator).requires_grad_()
        for width, shape in zip([4, 6, 8], sides, strict=True)
    ]
    logits = decoder(levels)
    assert logits.shape == (1, 3, 8, 8, 8)
    assert all(gradient.any() for gradient in torch.autograd.grad(logits.sum(), levels))


def test_a_stride_is_asked_for_each_level():
    with pytest.raises(ValueError, match="zip"):
        SkipDecoder([4, 6], [(2, 2, 2)])
