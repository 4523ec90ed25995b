# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import torch

from universal_model_components.imaging.hdf5 import LEVELS, dequantize, quantize


def test_levels_are_kept_and_volumes_rounded_to_the_nearest(generator):
    levels = np.arange(LEVELS + 1, dtype=np.uint16)
    np.testing.assert_array_equal(quantize(torch.from_numpy(dequantize(levels))), levels)
    volume = torch.rand(5, 6, 7, generator=generator)
    rounded = dequantize(quantize(volume.clone()))
    assert rounded.dtype == np.float32
    assert np.abs(rounded - volume.numpy()).max() <= 0.5 / LEVELS + 1e-7
