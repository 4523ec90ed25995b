# SPDX-License-Identifier: Apache-2.0
"""Inference of the classification tasks: candidates of a scan (LNC), or a whole scan (ADC), to probabilities.

A scan is read and resampled once for all of its candidates; their cubes are gathered on the device, a batch at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor

from ..imaging.errors import ScanError
from ..imaging.transforms import ORIGINAL_SPACE, file_of
from ..tasks.candidates import check_inside, cube_windows, cut_cubes_at, gather_cubes, nearest_voxels
from ..tasks.scan_cache import middle
from .neighbors import samples_at_a_time

logger = logging.getLogger(__name__)


class CandidateVoxelsd(MapTransform):
    """Turn candidates into voxels of their normalized scan.

    A sample without candidates, such as a server's, is left unchanged. Predictions for candidates are not images, so
    `spatial_shape` is removed from the scan's metadata: MONAI Label would resize the predictions to it.

    Args:
        keys: of lists of [x, y, z, …], mm, LPS; they become int64 tensors (N, 3).
        reference: key of the scan that `NormalizeScand` made.
        position_key: key for the positions themselves, a float64 tensor (N, 3).

    Raises:
        ScanError: when a candidate lies outside the scan.
    """

    def __init__(self, keys: KeysCollection, reference: str = "image", position_key: str = "position") -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.reference, self.position_key = reference, position_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace lists by voxels."""
        result = dict(data)
        volume = result[self.reference]
        original = volume.meta[ORIGINAL_SPACE]
        volume.meta.pop("spatial_shape", None)
        for key in self.key_iterator(result):
            entry = {"image": file_of(volume, self.reference), "candidates": result[key]}
            try:
                check_inside(entry, np.asarray(original["affine"]), [int(side) for side in original["shape"]])
            except ValueError as error:
                raise ScanError(str(error)) from error
            positions = torch.tensor([one[:3] for one in result[key]], dtype=torch.float64).reshape(-1, 3)
            affine = np.asarray(volume.affine, dtype=np.float64)
            result[key] = nearest_voxels(positions.numpy(), affine, volume.shape[1:])
            result[self.position_key] = positions
        return result


class CenterPatchd(MapTransform):
    """Crop a cube at the center of a scan, padded with zeros where it extends beyond the scan.

    `spatial_shape` is removed from the cube's metadata: it describes the file, and MONAI Label would resize the
    predictions to it.

    Args:
        keys: of tensors (C, H, W, D), which become (C, *patch_size).
        patch_size: voxels.
    """

    def __init__(self, keys: KeysCollection, patch_size: Sequence[int]) -> None:
        super().__init__(keys)
        self.patch_size = [int(side) for side in patch_size]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace scans by cubes."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            center = torch.tensor([middle(volume.shape[1:])])
            cube = cut_cubes_at(torch.as_tensor(volume), center, self.patch_size)[0]
            if isinstance(volume, MetaTensor):
                shift = torch.eye(4, dtype=torch.float64)
                shift[:3, 3] = center[0] - torch.tensor([side // 2 for side in self.patch_size])
                meta = {name: value for name, value in volume.meta.items() if name not in ("affine", "spatial_shape")}
                cube = MetaTensor(cube, affine=volume.affine.double() @ shift, meta=meta)
            result[key] = cube
        return result


class CandidateInferer(Inferer):
    """Call a network on the cubes around a scan's candidates, as `SlidingWindowInferer` does on its windows.

    Without candidates it is called on the cube at the center: a server has none, but may be sent crops around them.

    Args:
        roi_size: voxels of a cube.
        sw_batch_size: cubes at a time.
    """

    def __init__(self, roi_size: Sequence[int], sw_batch_size: int = 8) -> None:
        self.roi_size, self.sw_batch_size = tuple(int(side) for side in roi_size), int(sw_batch_size)

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        *args: Any,
        centers: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the logits of every candidate.

        Args:
            inputs: one normalized scan.
            network: cubes → logits.
            args: passed to the network.
            centers: voxels of the candidates; None for one cube at the center.
            kwargs: passed to the network.

        Shape:
            inputs (1, C, H, W, D), centers (1, N, 3) → (1, classes, N), without centers (1, classes).

        Raises:
            ValueError: when there is more than one scan.
        """
        if len(inputs) != 1:
            raise ValueError(f"inputs: got {len(inputs)} scans, expected one: candidates belong to one scan")
        if centers is None:
            return network(
                cut_cubes_at(inputs[0], torch.tensor([middle(inputs.shape[2:])]), self.roi_size), *args, **kwargs
            )
        windows = cube_windows(inputs[0], self.roi_size)
        parts = centers[0].split(samples_at_a_time(network, self.sw_batch_size))
        logits = [network(gather_cubes(windows, part), *args, **kwargs) for part in parts]  # each (n, classes)
        return torch.cat(logits).T.unsqueeze(0)
