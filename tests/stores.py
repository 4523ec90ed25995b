# SPDX-License-Identifier: Apache-2.0
"""What a reader could see of a store of cubes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np


class Stored(dict):
    """What one case's file holds; equal when all is, the cubes to one step of 1/4095.

    A matrix product may round differently in another process, by where its memory happens to lie: a voxel at the edge
    of a histogram's bin may then be counted beside it.
    """

    def __init__(self, file):
        with h5py.File(file) as case:
            super().__init__(cubes=case["cubes"][:].astype(int), box=case["box"][:], scale=case["scale"][:])
            self["attributes"] = {name: np.asarray(value).tolist() for name, value in case.attrs.items()}
        self["histogram"] = np.cumsum(self["attributes"].pop("histogram_normalized"))

    def __eq__(self, other):
        alike = self["attributes"] == other["attributes"] and self["cubes"].shape == other["cubes"].shape
        alike = alike and all(np.array_equal(self[name], other[name]) for name in ("box", "scale"))
        alike = alike and np.abs(self["histogram"] - other["histogram"]).max() <= 1e-3 * self["histogram"][-1]
        return bool(alike and np.abs(self["cubes"] - other["cubes"]).max() <= 1)

    def __ne__(self, other):
        return not self == other

    __hash__ = None


def content(store):
    """Everything in a store that a reader could see."""
    result = {file.name: file.read_text() for file in Path(store).glob("*.json")}
    for file in sorted(Path(store).glob("cases/*.h5")):
        result[file.name] = Stored(file)
    return result
