# SPDX-License-Identifier: Apache-2.0
"""The run of every inference.json: one scan at a time; unusable scans are reported and skipped, the others continue."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ignite.engine import Engine
from monai.data import Dataset, list_data_collate
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..imaging.unusable import Unusable, file_problem
from ..utils.settings import to_bool, to_optional
from ..weights.strict import load_weights

logger = logging.getLogger(__name__)


class ScanLoader:
    """Batches of one scan each; an unusable scan is named and skipped, and is listed in `problems`.

    Args:
        dataset: MONAI dataset whose transform reads the scan. An error that is the fault of the scan's files, in this
            process or in a worker, affects that scan only.
        num_workers: processes that read ahead.
        name: label of the progress bar.
    """

    def __init__(self, dataset: Dataset, num_workers: int = 0, name: str = "inference") -> None:
        self.dataset, self.num_workers, self.name = dataset, int(num_workers), name
        self.problems: list[Unusable] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        loader: DataLoader[Any] = DataLoader(
            _Attempts(self.dataset),  # type: ignore[arg-type]
            batch_size=1,
            num_workers=self.num_workers,
            collate_fn=_collate_one,
        )
        self.problems = []
        with tqdm(total=len(self.dataset), desc=self.name, unit="scan") as bar:
            for batch in self._survive(loader, bar):
                bar.update()
                if isinstance(batch, Unusable):
                    tqdm.write(batch.reason)
                    self.problems.append(batch)
                else:
                    yield batch

    def _survive(self, loader: DataLoader, bar: tqdm) -> Iterator[Any]:
        """Yield what the loader yields; name the scans in progress when a worker process dies."""
        try:
            yield from loader
        except RuntimeError as error:
            if not re.match(r"DataLoader worker \(pid", str(error)):
                raise
            waiting = self.dataset.data[bar.n : bar.n + 2 * self.num_workers]  # each worker reads two scans ahead
            files = ", ".join(str(sample["image"]) for sample in waiting)
            raise ChildProcessError(
                f"num_workers: a worker process died, possibly out of memory, possibly at {files}: use fewer "
                "num_workers, or remove that scan"
            ) from error


class _Attempts:
    """A dataset with the items of another, or an `Unusable` in place of an item."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            sample = self.dataset.data[index]
            reason = file_problem(sample, error)
            if reason is None:
                raise
            return Unusable(str(sample.get("case", sample.get("image"))), reason)


def _collate_one(items: list[Any]) -> Any:
    return items[0] if isinstance(items[0], Unusable) else list_data_collate(items)


def run_inference(
    evaluator: Engine,
    loader: ScanLoader,
    network: nn.Module,
    weights: str | None,
    strict: bool | str = False,
    done: str = "restored",
    recipe: Mapping[str, Any] | None = None,
) -> None:
    """Run an evaluator on every scan; the entry point of every inference.json.

    Args:
        evaluator: predicts and writes; its handlers load the weights too, for tools that call it alone.
        loader: of the evaluator.
        network: that the weights are loaded into.
        weights: file of a plain state dict, or where `weights.hub.find_weights` finds one; None when the network
            includes them, as an ONNX file does.
        strict: exit non-zero when any scan was skipped (after all others are processed).
        done: past participle for the last line, such as "segmented".
        recipe: how scans are prepared, see `weights.strict.check_weights`.

    Raises:
        OSError: when the weights are missing, or a file cannot be written.
        ValueError: when settings or weights are wrong, all scans were skipped, or any was and `strict` is true.
    """
    strict = to_bool(strict, "strict")
    if to_optional(weights) is not None:
        load_weights(network, str(weights), recipe)
    evaluator.run()
    reasons = [problem.reason for problem in loader.problems]
    report_skipped(reasons, len(reasons), len(loader.dataset), strict, f"scans {done}")


def report_skipped(problems: Sequence[str], skipped: int, total: int, strict: bool, done: str) -> None:
    """Print what was skipped and how much is done.

    Args:
        problems: one line for each thing that could not be used.
        skipped: how many of the `total` were not done for it.
        total: how many there were.
        strict: whether one skipped is an error.
        done: what they are and what was done, such as "scans segmented".

    Raises:
        ValueError: when all were skipped, or any was and `strict` is true.
    """
    left = f", {skipped} skipped" if skipped else ""
    print(*(f"skipped: {problem}" for problem in problems), f"{total - skipped} of {total} {done}{left}", sep="\n")
    if skipped == total or (strict and skipped):
        what, why = done.split()[0], "strict is true" if skipped < total else "none is left"
        raise ValueError(f"{skipped} of {total} {what} skipped, listed above, and {why}: fix or remove them")
