# SPDX-License-Identifier: Apache-2.0
"""From the scans of a folder to restored scans in their own space and pooled features: the run of inference.json.

A scan is read and normalised as for pre-training, at 1 mm and whole (no foreground crop); MONAI's sliding window
restores it; the result goes back to the file's own voxels and intensity units. A scan that cannot be used is named and
skipped, the others go on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.data import Dataset, list_data_collate
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from .datalists.folder import find_scans
from .probes import pool_levels
from .reading import scan_error, stem
from .settings import to_bool, to_optional
from .weights import check_weights

logger = logging.getLogger(__name__)


def list_scans(
    dataset_dir: str, modalities: Sequence[str], modality: str | None = None, datalist: str | None = None
) -> list[dict[str, str]]:
    """List the scans to restore, with the modality that decides each one's intensity window.

    Args:
        dataset_dir: folder of scans, searched through; also what a datalist's paths are relative to.
        modalities: sub-folders to look into.
        modality: what every scan is, in whatever folder; None takes it from the sub-folder, or from the datalist.
        datalist: MONAI datalist whose sections are all taken; None lists the folder.

    Returns:
        Dicts with keys image (path) and modality.

    Raises:
        SystemExit: with one line, when the folder is missing or has no scan, the datalist cannot be read, a modality is
            unknown, or two scans have one name.
    """
    try:
        return _list_scans(dataset_dir, modalities, modality, datalist)
    except ValueError as error:
        raise SystemExit(f"inference: {error}") from error


def _list_scans(
    dataset_dir: str, modalities: Sequence[str], modality: str | None, datalist: str | None
) -> list[dict[str, str]]:
    root, modality, datalist = Path(dataset_dir), to_optional(modality), to_optional(datalist)
    if not root.is_dir():
        raise ValueError(f"dataset_dir: {root} is not a folder: give the one that holds {list(modalities)}")
    if datalist is not None:
        scans = [(root / entry["image"], modality or entry.get("modality")) for entry in _read_datalist(datalist)]
    elif modality is not None:
        scans = [(file, modality) for file in find_scans(root)]
    else:
        scans = [(file, name) for name in modalities for file in find_scans(root / name)]
    if not scans:
        raise ValueError(
            f"dataset_dir: no scan in {root}: give a folder with sub-folders {list(modalities)}, or modality"
        )
    seen: dict[str, Path] = {}
    for file, name in scans:
        if name not in modalities:
            raise ValueError(f"modality: {name!r} of {file} is not one of {list(modalities)}: give modality")
        if stem(file) in seen:
            raise ValueError(f"{file}: would be written over {seen[stem(file)]}'s result: rename or remove one")
        seen[stem(file)] = file
    return [{"image": str(file), "modality": str(name)} for file, name in scans]


def _read_datalist(file: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(Path(file).read_text())
        entries = [entry for section in content.values() if isinstance(section, list) for entry in section]
        if all(isinstance(entry, dict) and "image" in entry for entry in entries):
            return entries
        raise ValueError("an entry has no key 'image'")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"datalist: {file} cannot be read ({error}): give a MONAI datalist") from error


class ScanLoader:
    """Batches of one scan each; a scan that cannot be used is named, kept in `problems`, and passed over.

    Args:
        dataset: MONAI dataset whose transform reads the scan; a `ScanError` in it is a problem of that scan alone.
        num_workers: processes that read ahead.
    """

    def __init__(self, dataset: Dataset, num_workers: int = 0) -> None:
        self.dataset, self.num_workers = dataset, int(num_workers)
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        loader: DataLoader[Any] = DataLoader(
            _Attempts(self.dataset),  # type: ignore[arg-type]
            batch_size=1,
            num_workers=self.num_workers,
            collate_fn=_collate_one,
        )
        self.problems = []
        for batch in tqdm(loader, "inference", unit="scan"):
            if isinstance(batch, str):
                tqdm.write(batch)
                self.problems.append(batch)
            else:
                yield batch


class _Attempts:
    """A dataset whose items are those of another, or the message of the `ScanError` that stood in the way."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            cause = scan_error(error)
            if cause is None:
                raise
            return str(cause)


def _collate_one(items: list[Any]) -> Any:
    return items[0] if isinstance(items[0], str) else list_data_collate(items)


class PooledFeatures:
    """Ignite handler that adds each level's features, averaged over the scan, to an evaluator's output.

    The features of a window are averaged over its voxels, and those of all windows averaged, each counting the same:
    the middle of a scan, where windows overlap, counts a little more than its rim. Batches are of one scan.

    Args:
        encoder: of the network that the evaluator's inferer calls, window by window.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.sums: list[Tensor] = []
        self.windows = 0

    def attach(self, engine: Engine) -> None:
        """Give every output of `engine` the keys level_1, level_2, …, tensors (1, C), finest level first."""
        self.encoder.register_forward_hook(self._collect)
        engine.add_event_handler(Events.ITERATION_STARTED, self._reset)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._publish)

    def _reset(self) -> None:
        self.sums, self.windows = [], 0

    def _collect(self, encoder: nn.Module, inputs: Any, levels: list[Tensor]) -> None:
        sums = [pooled.sum(dim=0, keepdim=True) for pooled in pool_levels(levels)]
        self.sums = sums if not self.sums else [old + new for old, new in zip(self.sums, sums, strict=True)]
        self.windows += len(levels[0])

    def _publish(self, engine: Engine) -> None:
        means = {f"level_{depth}": total / self.windows for depth, total in enumerate(self.sums, start=1)}
        engine.state.output.update(means)  # type: ignore[union-attr]


def restore_scans(
    evaluator: Engine,
    loader: ScanLoader,
    network: nn.Module,
    weights: str | None,
    strict: bool | str = False,
    done: str = "restored",
    recipe: Mapping[str, Any] | None = None,
) -> None:
    """Restore, or whatever the evaluator does, every scan; the whole of an inference.json.

    Args:
        evaluator: restores and writes; its handlers load the weights.
        loader: of the evaluator.
        network: what the weights are for.
        weights: file of a plain state dict; None when the network has its own, as an ONNX file has.
        strict: exit non-zero when any scan was skipped (after the others were done).
        done: what has happened to a scan then, for the last line.
        recipe: how scans are prepared, see `weights.check_weights`.

    Raises:
        SystemExit: with one line, when settings or weights are wrong, a file cannot be written, or no scan was good.
    """
    try:
        strict = to_bool(strict, "strict")
        if to_optional(weights) is not None:
            check_weights(network, str(weights), recipe)
        evaluator.run()
    except (OSError, ValueError) as error:
        raise SystemExit(f"inference: {error}") from error
    skipped, scans = len(loader.problems), len(loader.dataset)
    print(
        *(f"skipped: {problem}" for problem in loader.problems),
        f"{scans - skipped} of {scans} scans {done}",
        sep="\n",
    )
    if skipped == scans or (strict and skipped):
        why = "strict is true" if skipped < scans else "none is left"
        raise SystemExit(f"inference: {skipped} of {scans} scans skipped, listed above, and {why}: mend them")
