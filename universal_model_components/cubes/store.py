# SPDX-License-Identifier: Apache-2.0
"""The store of cubes: a folder that preparation fills and training reads by random access.

`store.json` holds the recipe and, once preparation has ended, the cases of each split (see `index`); `cases/*.h5` hold
the cubes, one file for each case (see `case_file`).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..imaging.hdf5 import case_file, dequantize
from ..utils.digests import digest
from ..utils.files import write_json
from .case_file import NO_HANDLE, damage_named, open_case, read_attributes
from .index import INDEX, read_index
from .recipe import SCALES, recipe_id

OPEN_FILES = 256  # in each process: bounds handles and memory (0.6 MB each); opening a case again costs up to 1 ms
HANDLES = 4  # a process may open this many times the files that one data set keeps open


def open_store(cube_store: str | Path, recipe: Mapping[str, Any]) -> None:
    """Create the store's folder, or check that its existing cases were made by the same recipe.

    Raises:
        ValueError: when the recipe differs; the message names each key with both values.
        OSError: when the folder cannot be written.
    """
    folder = Path(cube_store)
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    if not (folder / INDEX).is_file() or not any((folder / "cases").glob("*.h5")):
        write_json(folder / INDEX, {"recipe": dict(recipe)})
        return
    found = read_index(folder)["recipe"]
    keys = sorted(key for key in {*found, *recipe} if found.get(key) != recipe.get(key))
    if keys:
        changes = ", ".join(f"{key} {found.get(key)!r} there, {recipe.get(key)!r} now" for key in keys)
        raise ValueError(f"cube_store: {folder} was made by another recipe ({changes}): give another cube_store")


def close_store(cube_store: str | Path, content: Mapping[str, Any]) -> None:
    """Add the results of preparation, above all `splits`, to `store.json`: the store is then ready for training."""
    write_json(Path(cube_store) / INDEX, {"recipe": read_index(cube_store)["recipe"], **content})


def case_records(cube_store: str | Path, split: str, modalities: Sequence[str]) -> list[dict[str, Any]]:
    """List the cases of one split, as `CubeDataset` takes them.

    Args:
        cube_store: folder that prepare.json filled.
        split: "training" or "validation".
        modalities: to include; the position is the label.

    Returns:
        Dicts with keys case, modality, label, group, file, counts (by scale) and shape (of a cube), sorted by case.

    Raises:
        FileNotFoundError: when there is no store, or a case's file is missing.
        ValueError: when preparation has not ended, the split is empty, or a modality has no case in any split.
        OSError: when a case's file is damaged, or is not what store.json says; the message names it.
    """
    index = read_index(cube_store)
    splits = index.get("splits")
    if splits is None:
        raise ValueError(f"cube_store: preparation of {cube_store} has not ended: run prepare.json again, it resumes")
    known = sorted({case["modality"] for cases in splits.values() for case in cases})
    unknown = [name for name in modalities if name not in known]
    if unknown:
        raise ValueError(f"modalities: no case of {unknown[0]!r} in {cube_store} (found {known})")
    cases = [case for case in splits.get(split, []) if case["modality"] in modalities]
    if not cases:
        found = {name: len(listed) for name, listed in splits.items()}
        raise ValueError(f"cube_store: no {split!r} case of {list(modalities)} in {cube_store} (cases: {found})")
    shape, recipe = index["recipe"]["patch_size"], recipe_id(index["recipe"])
    records = []
    for case in cases:
        file, label = case_file(cube_store, case["case"]), list(modalities).index(case["modality"])
        record = {**case, "label": label, "file": str(file), "shape": shape, "recipe": recipe}
        with damage_named(record):
            open_case(record).close()
        records.append(record)
    return records


def cubes_identity(data: Sequence[Mapping[str, Any]]) -> str:
    """Return a line that names the cubes of some cases by their content: by the scans and the recipe they were made of.

    Args:
        data: records of `case_records`; where the store lies does not matter, their order does.
    """
    scans = [(read_attributes(Path(record["file"])) or {}).get("sha256") for record in data]
    keys = ("case", "label", "counts", "recipe")
    content = [[scan, *(record[key] for key in keys)] for scan, record in zip(scans, data, strict=True)]
    return f"{sum(sum(record['counts']) for record in data)} cubes of {len(data)} cases, {digest(content)}"


class CubeDataset(Dataset):
    """Cubes of some cases by random access; only the list of cases is kept in memory.

    `dataset[i]` is cube i with seed i (a fixed corruption, for validation); `dataset[i, seed]` is cube i with that seed
    (a training sampler yields such pairs). Items: `image` float32 (1, H, W, D) in [0, 1], `modality`, `scale`, `seed`,
    `case`. Files are opened when first needed, in the process that reads them, and at most `OPEN_FILES` stay open.

    Args:
        data: records of `case_records`.
        cube_shape: what the network expects; None uses the store's.

    Raises:
        ValueError: when the store's cubes have another shape.
        OSError: on reading, when a file is missing, truncated or made by another recipe; the message names the file.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], cube_shape: Sequence[int] | None = None) -> None:
        self.data = list(data)
        for record in self.data:
            if cube_shape is not None and list(record["shape"]) != list(cube_shape):
                raise ValueError(
                    f"patch_size: the stored cubes are {list(record['shape'])}, not {list(cube_shape)}: "
                    "give that patch_size, or prepare another cube_store"
                )
        counts = np.asarray([record["counts"] for record in self.data], dtype=np.int64).reshape(-1, len(SCALES))
        self._scale_ends = counts.cumsum(axis=1)
        self._ends = counts.sum(axis=1).cumsum()
        self._files: OrderedDict[str, h5py.File] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> dict[str, Any]:
        number, seed = index if isinstance(index, (tuple, list)) else (index, index)
        if not 0 <= number < len(self):
            raise IndexError(f"cube {number} of {len(self)}")
        position, row = self.locate(int(number))
        record = self.data[position]
        cube = dequantize(self._read(record, row))
        return {
            "image": torch.from_numpy(cube).unsqueeze(0),
            "modality": int(record["label"]),
            "scale": int(np.searchsorted(self._scale_ends[position], row, side="right")),
            "seed": int(seed),
            "case": record["case"],
        }

    def locate(self, number: int) -> tuple[int, int]:
        """Locate a cube: position of its case in `data`, and row in that case's file."""
        position = int(np.searchsorted(self._ends, number, side="right"))
        return position, number - (int(self._ends[position - 1]) if position else 0)

    @property
    def modality_labels(self) -> Tensor:
        """Label of every cube, (N,) int64; no cube is read for it."""
        labels = torch.tensor([record["label"] for record in self.data], dtype=torch.int64)
        return labels.repeat_interleave(torch.tensor([sum(record["counts"]) for record in self.data]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict()}

    def _read(self, record: Mapping[str, Any], row: int) -> np.ndarray:
        with damage_named(record):
            return self._open(record)["cubes"][row]

    def _open(self, record: Mapping[str, Any]) -> h5py.File:
        if self._process != os.getpid():  # forked: HDF5 handles belong to the process that opened them
            self._files, self._process = OrderedDict(), os.getpid()
        file = record["file"]
        if file not in self._files:
            self._close_down_to(open_files() - 1)
            try:
                self._files[file] = open_case(record)
            except OSError as error:
                if error.errno not in NO_HANDLE:
                    raise
                self._close_down_to(0)
                self._files[file] = open_case(record)
        self._files.move_to_end(file)
        return self._files[file]

    def _close_down_to(self, count: int) -> None:
        while len(self._files) > count:
            self._files.popitem(last=False)[1].close()


def open_files() -> int:
    """Return how many case files one data set keeps open: `OPEN_FILES`, or fewer where a process may open few."""
    limit = OPEN_FILES * HANDLES
    with suppress(ImportError):  # Windows has no such limit
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = limit if soft == resource.RLIM_INFINITY else min(limit, soft)
    return max(1, limit // HANDLES)


def cube_records(
    cube_store: str, split: str, modalities: Sequence[str], optional: bool = False
) -> list[dict[str, Any]]:
    """List the cases of a split as `store.case_records` does.

    Args:
        cube_store: folder of the store.
        split: its name.
        modalities: to include.
        optional: a split without cases is an empty list; a store for testing a model may have no training cases.

    Raises:
        FileNotFoundError, ValueError: as `case_records`.
    """
    if optional and not read_index(cube_store).get("splits", {}).get(split):
        return []
    return case_records(cube_store, split, modalities)
