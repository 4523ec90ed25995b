# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from universal_model_components.utils.pooling import pool_levels


def test_pool_levels_is_the_mean_over_the_cube(generator):
    levels = [torch.rand(2, 3, 4, 4, 2, generator=generator), torch.rand(2, 5, 2, 2, 1, generator=generator).double()]
    pooled = pool_levels(levels)
    assert [tuple(level.shape) for level in pooled] == [(2, 3), (2, 5)]
    assert pooled[1].dtype == torch.float32
    torch.testing.assert_close(pooled[0][1, 2], levels[0][1, 2].mean())
