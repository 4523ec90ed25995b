# SPDX-License-Identifier: Apache-2.0
"""Pooled features of whole scans, and of cubes around points in them, by an encoder alone.

A whole scan's features are those that inference.json of the pre-training bundle saves: the same reading,
normalization, windows and means (`features.LevelMeans`). A cube around a point is resized as those of pre-training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import Dataset, decollate_batch
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose
from torch import Tensor, nn

from ..imaging.geometry import spacing_of
from ..imaging.resampling import resize
from ..imaging.transforms import ORIGINAL_SPACE, NormalizeScand, ReadScand
from ..tasks.candidates import cut_cubes_at, nearest_voxels, outside
from ..utils.pooling import pool_levels
from .features import LevelMeans
from .neighbors import samples_at_a_time
from .runner import ScanLoader
from .scan_rows import ScanRow

RECIPE = ("spacing", "patch_size", "intensity_range", "intensity_scale")
MAY_BE_NULL = ("spacing", "intensity_range")  # each scan's own


def recipe_for_features(provenance: Mapping[str, Any] | None, given: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return how scans are prepared: as given, else as the weights' provenance states.

    Args:
        provenance: of the weights; None for weights without one.
        given: spacing, patch_size, intensity_range or intensity_scale, where the user gave them.
        file: of the weights, for the message.

    Raises:
        ValueError: when one of them is neither given nor stated.
    """
    known = {**(provenance or {}), **given}
    missing = [key for key in RECIPE if key not in known or (known[key] is None and key not in MAY_BE_NULL)]
    if missing:
        options = " ".join(f"--{key}" for key in missing)
        raise ValueError(f"weights: {file} has no provenance that states {', '.join(missing)}: give {options}")
    return {key: known[key] for key in RECIPE}


class FeatureExtractor:
    """Features of scans and points, a row for each.

    Args:
        encoder: images → levels, finest first; used in evaluation mode.
        recipe: of `recipe_for_features`.
        batch_size: windows or cubes at a time.
        overlap: of a scan's windows, 0 or more and less than 1.
        device: of the computation.
    """

    def __init__(
        self,
        encoder: nn.Module,
        recipe: Mapping[str, Any],
        batch_size: int = 4,
        overlap: float = 0.25,
        device: str | torch.device = "cpu",
    ) -> None:
        self.encoder, self.device = encoder.to(device).eval(), device
        self.patch_size = [int(side) for side in recipe["patch_size"]]
        self.batch_size = samples_at_a_time(self.encoder, batch_size)
        self.inferer = SlidingWindowInferer(self.patch_size, self.batch_size, overlap)
        self.levels = LevelMeans(self.encoder)
        window, scale, spacing = (recipe[key] for key in ("intensity_range", "intensity_scale", "spacing"))
        self.preprocessing = Compose([ReadScand("image"), NormalizeScand("image", window, scale, spacing)])

    @torch.no_grad()
    def extract(self, rows: Sequence[ScanRow], num_workers: int = 0) -> tuple[dict[int, np.ndarray], list[str]]:
        """Compute the features of every row, reading each scan once; a scan or point that cannot be used is skipped.

        Args:
            rows: in any order.
            num_workers: processes that read scans ahead.

        Returns:
            Features of the usable rows by their numbers, float32, all levels in a row; and one line for each problem.

        Raises:
            FloatingPointError: when a feature is not finite.
        """
        wanted: dict[tuple[str, str | None], list[int]] = {}
        for number, row in enumerate(rows):
            wanted.setdefault((row.image, row.modality), []).append(number)
        samples = [
            {"image": image, "rows": torch.tensor(numbers), **({"modality": modality} if modality else {})}
            for (image, modality), numbers in wanted.items()
        ]
        loader = ScanLoader(Dataset(samples, self.preprocessing), num_workers, "features")
        found: dict[int, np.ndarray] = {}
        problems: list[str] = []
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            for batch in loader:
                sample = decollate_batch(batch)[0]
                numbers = sample["rows"].tolist()
                found |= self._of_sample(sample["image"], {number: rows[number] for number in numbers}, problems)
        return found, [problem.reason for problem in loader.problems] + problems

    def _of_sample(self, volume: Any, rows: Mapping[int, ScanRow], problems: list[str]) -> dict[int, np.ndarray]:
        """Return the features of the rows that one scan has."""
        whole = [number for number, row in rows.items() if row.point is None]
        points = [number for number, row in rows.items() if row.point is not None]
        found = dict.fromkeys(whole, self._of_scan(volume)) if whole else {}
        if points:
            found |= self._of_points(volume, {number: rows[number] for number in points}, problems)
        for number, features in found.items():
            if not np.isfinite(features).all():
                raise FloatingPointError(f"{rows[number].image}: a feature is not finite: the weights are broken")
        return found

    def _of_scan(self, volume: Tensor) -> np.ndarray:
        self.levels.reset()
        self.inferer(torch.as_tensor(volume)[None].to(self.device), self._keep)
        return _row(self.levels.means())[0]

    def _keep(self, windows: Tensor) -> Tensor:
        """Call the encoder, whose levels are averaged by its hook, and give the inferer something to put together."""
        self.encoder(windows)
        return windows

    def _of_points(self, volume: Any, rows: Mapping[int, ScanRow], problems: list[str]) -> dict[int, np.ndarray]:
        original = volume.meta[ORIGINAL_SPACE]
        positions = np.array([row.point for row in rows.values()])
        shape = [int(side) for side in original["shape"]]
        beyond = outside(positions, np.asarray(original["affine"]), shape)
        for row, is_beyond in zip(rows.values(), beyond, strict=True):
            if is_beyond:
                where = list(row.point or ())
                problems.append(f"{row.image}: point {where} mm (LPS) lies outside the scan: correct or remove it")
        inside = [number for number, is_beyond in zip(rows, beyond, strict=True) if not is_beyond]
        cubes = self._cubes(volume, [rows[number] for number in inside])
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(inside), self.batch_size):
            part = inside[start : start + self.batch_size]
            batch = torch.stack([next(cubes) for _ in part]).to(self.device)
            found |= dict(zip(part, _row(pool_levels(self.encoder(batch))), strict=True))
        return found

    def _cubes(self, volume: Any, rows: Sequence[ScanRow]) -> Iterator[Tensor]:
        """Yield the cube around each point, (1, *patch_size), padded by 0 beyond the scan."""
        affine = np.asarray(volume.affine, dtype=np.float64)
        spacing = spacing_of(affine)
        for row in rows:
            center = nearest_voxels(row.point, affine, volume.shape[1:])
            shape = self.patch_size
            if row.size is not None:
                shape = [max(1, round(side / step)) for side, step in zip(row.size, spacing, strict=True)]
            cube = cut_cubes_at(torch.as_tensor(volume), center, shape)[0]
            yield cube if row.size is None else resize(cube, self.patch_size).clamp(0, 1)


def _row(levels: Sequence[Tensor]) -> np.ndarray:
    """Put the levels of each row side by side: list of (B, C_i) → (B, sum of C_i)."""
    return torch.cat(list(levels), dim=1).cpu().numpy()
