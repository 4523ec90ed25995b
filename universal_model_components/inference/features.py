# SPDX-License-Identifier: Apache-2.0
"""Features of a scan, averaged over its voxels level by level: collected while it is restored, saved beside it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.data import FolderLayout
from monai.engines.utils import IterationEvents
from monai.transforms import MapTransform
from torch import Tensor, nn

from ..utils.files import write_atomically
from ..utils.pooling import pool_levels
from .naming import subject_of

POOLING = "mean over the voxels of a window, then over windows"


class LevelMeans:
    """Features of each level of an encoder, averaged over everything that it is called with until they are reset.

    Features are averaged over the voxels of each window, then over windows with equal weight: the center of a scan,
    where windows overlap, counts a little more than its border.

    Args:
        encoder: its calls are recorded by a forward hook.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.reset()
        encoder.register_forward_hook(self._add)

    def reset(self) -> None:
        """Forget what was averaged."""
        self.sums: list[Tensor] = []
        self.windows = 0

    def means(self) -> list[Tensor]:
        """Return the mean of each level, finest first; nothing before the first call.

        Shape:
            list of (1, C_i).
        """
        return [total / self.windows for total in self.sums]

    def _add(self, encoder: nn.Module, inputs: Any, levels: list[Tensor]) -> None:
        sums = [pooled.sum(dim=0, keepdim=True) for pooled in pool_levels(levels)]
        self.sums = sums if not self.sums else [old + new for old, new in zip(self.sums, sums, strict=True)]
        self.windows += len(levels[0])


class PooledFeatures:
    """Ignite handler that adds each level's features, averaged over the scan, to an evaluator's output.

    How they are averaged is described at `LevelMeans`. Each batch holds one scan.

    Args:
        encoder: of the network that the evaluator's inferer calls, window by window.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder

    def attach(self, engine: Engine) -> None:
        """Give every output of `engine` the keys level_1, level_2, …, tensors (1, C), finest level first."""
        levels = LevelMeans(self.encoder)
        engine.add_event_handler(Events.ITERATION_STARTED, levels.reset)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, _publish, levels)


def _publish(engine: Engine, levels: LevelMeans) -> None:
    means = {f"level_{depth}": mean for depth, mean in enumerate(levels.means(), start=1)}
    engine.state.output.update(means)  # type: ignore[union-attr]


class SaveFeaturesd(MapTransform):
    """Save pooled features of a scan as `<name>_features.npz`, with their origin, beside its restored volume.

    Args:
        keys: of the features, tensors (C,), which are also their names in the file.
        meta_key: key of a `MetaTensor` of the same scan, whose metadata names the file.
        output_dir: folder to write into; sub-folders are kept.
        data_root_dir: folder that the scans' sub-folders are relative to.
        modality_key: key of the scan's modality; for a sample without it, such as a server's, nothing is written.
        allow_missing_keys: skip missing keys.

    Raises:
        OSError: when the file cannot be written; an existing file is kept.
    """

    def __init__(
        self,
        keys: KeysCollection,
        meta_key: str,
        output_dir: str,
        data_root_dir: str = "",
        modality_key: str = "modality",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.meta_key, self.modality_key = meta_key, modality_key
        self.data_root_dir = data_root_dir
        self.layout = FolderLayout(output_dir, "features", ".npz", makedirs=True, data_root_dir=data_root_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the file and return the data unchanged."""
        result = dict(data)
        if self.modality_key not in result:
            return result
        source = str(result[self.meta_key].meta["filename_or_obj"])
        features = {str(key): result[key].float().cpu().numpy() for key in self.key_iterator(result)}
        origin = {"source": source, "modality": str(result[self.modality_key]), "pooling": POOLING}
        file = Path(self.layout.filename(subject=subject_of(source, self.data_root_dir)))
        write_atomically(file, lambda path: _write_arrays(path, {**features, **origin}))
        return result


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
