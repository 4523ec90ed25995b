# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from universal_model_components.comparisons.inputs import check_sides, repeat_channel, same_padding


@pytest.mark.parametrize(
    ("sides", "kernel", "stride", "zeros"),
    [  # by hand: (before, behind) of each axis, the last axis first
        [[8, 8, 8], 3, 1, [1, 1, 1, 1, 1, 1]],
        [[64, 64, 32], 7, 2, [2, 3, 2, 3, 2, 3]],
        [[9, 8, 7], 3, 2, [1, 1, 0, 1, 1, 1]],
        [[8, 8, 8], 5, 2, [1, 2, 1, 2, 1, 2]],
        [[5, 4, 3], 2, 2, [0, 1, 0, 0, 0, 1]],
        [[4, 4, 4], 1, 1, [0, 0, 0, 0, 0, 0]],
        [[6, 6, 6], 1, 2, [0, 0, 0, 0, 0, 0]],  # never negative
    ],
)
def test_same_padding_is_tensorflows(sides, kernel, stride, zeros):
    assert same_padding(sides, kernel, stride) == zeros


def test_one_channel_is_repeated_and_others_are_not(generator):
    one, two = torch.rand(2, 1, 2, 3, 4, generator=generator), torch.rand(2, 2, 2, 3, 4, generator=generator)
    assert torch.equal(repeat_channel(one, 3), torch.cat([one, one, one], dim=1))
    assert torch.equal(repeat_channel(two, 2), two)


def test_sides_that_are_not_divisible_are_named():
    check_sides(torch.zeros(1, 1, 8, 32, 64), [8, 32, 32])
    with pytest.raises(
        ValueError, match=r"^image sides must be divisible by \[8, 32, 32\], got shape \[1, 1, 8, 32, 48\]$"
    ):
        check_sides(torch.zeros(1, 1, 8, 32, 48), [8, 32, 32])
