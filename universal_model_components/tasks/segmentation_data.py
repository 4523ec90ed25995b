# SPDX-License-Identifier: Apache-2.0
"""Cases of a target task: read from a datalist, checked, subsampled for label fractions, cached, and seeded.

The random transforms of a case are a function of one seed, which the sampler provides with the index: an interrupted
run resumes with the same cubes, on any number of workers and ranks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import CacheDataset
from monai.transforms import Compose
from tqdm.auto import tqdm

from ..datalists.reader import check_keys, entries_of, open_datalist
from ..datalists.splits import hash_order
from ..imaging.dicom_header import is_dicom
from ..imaging.errors import ScanError
from ..imaging.geometry import Grid, check_same_grid
from ..imaging.reading import read_grid
from ..imaging.scan_files import SUFFIXES, stem
from ..imaging.unusable import Unusable, file_problem, refusal
from ..utils.digests import digest

READ = ("case", "image", "label", "candidates")  # keys of an entry that decide its samples


def read_cases(
    datalist: str | Path,
    dataset_dir: str | Path,
    split: str,
    keys: Sequence[str] = ("image", "label"),
    optional: bool = False,
    check_files: bool = True,
) -> list[dict[str, Any]]:
    """Read one list of a datalist, with absolute paths, and check the headers before training.

    Args:
        datalist: JSON, see MONAI's `load_decathlon_datalist`; other keys of entries are kept.
        dataset_dir: folder that paths are relative to.
        split: "training", "validation" or "test".
        keys: every entry must have these; "image", and "label" where it is a path, are files on one grid.
        optional: return nothing for a list that is missing or empty.
        check_files: False for inference and evaluation, which name and skip a file that cannot be used.

    Returns:
        The entries; those without "case" get the image's path, without its suffix, for one.

    Raises:
        ValueError: when the file, a key or a scan is missing, a case occurs twice, or a label is not on its image's
            grid; one line that names the entry or the file.
    """
    entries = entries_of(open_datalist(datalist), datalist, split)
    if not entries and not optional:
        raise ValueError(f"datalist: {datalist} has no {split!r} cases: add some, or give another datalist")
    where, cases = f"datalist: {datalist}", []
    seen: set[str] = set()
    for place, entry in enumerate(entries):
        case = check_entry(f"{where}: {split}[{place}]", entry, Path(dataset_dir), keys, check_files)
        if case["case"] in seen:
            raise ValueError(f"{where}: case {case['case']!r} occurs twice in {split!r}: remove or rename one")
        seen.add(case["case"])
        cases.append(case)
    return cases


def check_entry(where: str, entry: Any, root: Path, keys: Sequence[str], check_files: bool = True) -> dict[str, Any]:
    """Return an entry with absolute paths and a case id, after checking its headers.

    Args:
        where: position of the entry, for messages.
        entry: of a datalist.
        root: folder that paths are relative to.
        keys: required keys.
        check_files: whether files must exist, and an image and its label have one grid.

    Raises:
        ValueError: as `read_cases`, for a single entry; one line.
    """
    check_keys(where, entry, keys)
    case = {**entry, "case": str(entry.get("case", stem(entry["image"])))}
    files = [key for key in ("image", "label") if isinstance(entry.get(key), str)]
    for key in files:
        path = root / entry[key]
        if check_files and not path.exists():
            raise ValueError(f"{where}: no file {path}: correct {key!r}, or dataset_dir")
        case[key] = str(path)
    scans = all(case[key].lower().endswith(SUFFIXES) or is_dicom(case[key]) for key in files)
    if check_files and len(files) == 2 and scans:
        label, image = (Grid(case[key], *read_grid(case[key])) for key in ("label", "image"))
        check_same_grid(label, image)
    return case


def cases_identity(
    training: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]], dataset_dir: str | Path
) -> str:
    """Return a line that names a task's cases by what is read of them: ids, images, labels and candidates.

    Args:
        training: cases, whose order matters.
        validation: cases.
        dataset_dir: folder that paths are named from: the data may be moved.
    """
    content = [
        [{key: _below(case[key], Path(dataset_dir)) for key in READ if key in case} for case in cases]
        for cases in (training, validation)
    ]
    return f"{len(training)} training and {len(validation)} validation cases, {digest(content)}"


def _below(value: Any, root: Path) -> Any:
    if isinstance(value, (str, Path)):
        return Path(value).relative_to(root).as_posix() if Path(value).is_relative_to(root) else str(value)
    return value


def take_label_fraction(cases: Sequence[dict[str, Any]], fraction: float, seed: int = 0) -> list[dict[str, Any]]:
    """Keep a share of the training cases (paper IV-D: 1.0, 0.7, 0.3, 0.1); a smaller share is part of a larger one.

    Cases are ordered by a hash of seed and case id, so the choice depends neither on their order nor on the machine.

    Args:
        cases: with a key "case".
        fraction: above 0, up to 1; at least one case is kept.
        seed: of the choice.

    Raises:
        ValueError: when the fraction is out of range.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
        raise ValueError(f"label_fraction: {fraction!r} is not above 0 and up to 1")
    wanted = max(1, math.floor(fraction * len(cases) + 0.5))
    kept: Collection[str] = set(hash_order([case["case"] for case in cases], seed)[:wanted])
    return [case for case in cases if case["case"] in kept]


def share_of_rank(cases: int, rank: int = 0, world_size: int = 1) -> list[int]:
    """Return the indices of the cases that a rank validates; with fewer cases than ranks all are validated as often.

    Each rank needs one, because a collective metric waits for all of them. Without cases the result is empty.
    """
    times = math.ceil(world_size / cases) if cases else 0
    return [place % cases for place in range(rank, times * cases, world_size)]


class CaseDataset(CacheDataset):
    """MONAI's `CacheDataset`, whose random transforms are seeded by the index, and whose cases can all be used.

    Every case is read once when the dataset is made, cached or not: a run does not begin with a file that would end it.

    Args:
        data: cases.
        transform: a `Compose`; the transforms before its first random one are applied once and cached.
        cache_rate: share of the cases to keep in memory, from 0 to 1.
        num_workers: threads that read them.
        copy_cache: copy a cached case before its random transforms; False avoids copying a whole volume for one cube,
            and is safe where none of them modifies its input in place (crop, noise, flips and transposes do not).

    An index is a case's position, or a pair (position, seed), as `sampling.BalancedBatchSampler` yields them; positions
    beyond the last case start again from the first.

    Raises:
        ValueError: when a case cannot be used; one line that names the first few files, all of them are in the log.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Compose,
        cache_rate: float = 1.0,
        num_workers: int = 1,
        copy_cache: bool = True,
    ) -> None:
        self.unusable: dict[int, Unusable] = {}
        self.failure: Exception | None = None
        threads = max(1, int(num_workers))
        super().__init__(list(data), transform, cache_rate=cache_rate, num_workers=threads, copy_cache=copy_cache)
        left = range(self.cache_num, len(self))
        with ThreadPool(threads) as pool:
            for _ in tqdm(pool.imap(self._try, left), "scans that are not cached", len(left), disable=not left):
                pass
        if self.failure is not None:
            raise self.failure
        if self.unusable:
            raise refusal([self.unusable[place] for place in sorted(self.unusable)], len(self))

    def _load_cache_item(self, idx: int) -> Any:
        """Keep errors for `__init__`: raised in one thread, they would leave the others running at exit."""
        try:
            return super()._load_cache_item(idx)
        except Exception as error:
            case = self.data[idx]
            reason = file_problem(case, error)
            if reason is None:
                self.failure = error
            else:
                self.unusable[idx] = Unusable(str(case.get("case", case["image"])), reason)
            return None

    def _try(self, idx: int) -> None:
        """Read a case that is not cached, and forget it."""
        if self.failure is None:
            self._load_cache_item(idx)

    def __getitem__(self, index: Any) -> Any:
        """Return a case, with its random transforms seeded where `index` is a pair."""
        place, seed = index if isinstance(index, tuple) else (index, None)
        if seed is not None:
            self.transform.set_random_state(seed=int(np.random.SeedSequence(int(seed)).generate_state(1)[0]))
            place = place % len(self)
        try:
            return super().__getitem__(place)
        except Exception as error:  # the file has changed since
            reason = None if isinstance(place, slice) else file_problem(self.data[place], error)
            if reason is None:
                raise
            raise ScanError(reason) from None
