# SPDX-License-Identifier: Apache-2.0
"""The largest connected component of a mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform
from scipy import ndimage
from torch import Tensor


class LargestComponentd(MapTransform):
    """Keep the largest connected component of a mask, over faces, edges or corners (26 neighbors).

    MONAI's `KeepLargestConnectedComponentd` needs scikit-image, which nothing else here does.

    Args:
        keys: masks (C, H, W, D) of 0 and 1; each channel is processed separately.
        allow_missing_keys: skip missing keys.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Remove all other components; of several of equal size the first is kept."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = torch.as_tensor(result[key])
            kept = [largest_component(channel) for channel in (mask.as_subclass(Tensor).cpu().numpy() > 0)]
            result[key] = mask * torch.from_numpy(np.stack(kept)).to(mask.device)
        return result


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected component (26 neighbors) of a boolean volume."""
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return mask & (parts == sizes.argmax())
