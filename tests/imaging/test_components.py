# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from universal_model_components.imaging.components import LargestComponentd


def test_the_largest_component_is_kept():
    mask = torch.zeros(2, 6, 6, 6)
    mask[0, :2, :2, :2], mask[0, 2, 2, 2], mask[0, 5, 5, 4:] = 1, 1, 1  # a cube, one voxel at its corner, and a speck
    kept = LargestComponentd("pred")({"pred": mask})["pred"]
    assert kept[0].sum() == 9
    assert kept[0, 5].sum() == 0
    assert kept[1].sum() == 0  # an empty mask stays empty
