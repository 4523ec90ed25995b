# SPDX-License-Identifier: Apache-2.0
"""Candidates of lung nodules: where LUNA16's world coordinates lie in a normalized scan, and the cubes around them.

LUNA16 gives positions in mm in the patient's LPS system, as MetaImage headers do; volumes here are RAS. A candidate is
moved to the nearest voxel of the normalized scan, and its cube is cut around that voxel: voxel `side // 2` of a cube is
the candidate's. A cube is padded by 0, the window's minimum, beyond the scan.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ")
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def read_candidates(file: str | Path, classes: bool = False) -> dict[str, list[list[float]]]:
    """Read candidates in LUNA16's format: columns seriesuid, coordX, coordY, coordZ and, for training, class.

    Args:
        file: CSV with a header line; further columns are ignored.
        classes: whether `class`, 0 or 1, is needed and returned.

    Returns:
        For each series, in the order of the file, its candidates: [x, y, z] in mm (LPS), or [x, y, z, class].

    Raises:
        ValueError: no such file, no candidate in it, missing columns, or an invalid value; one line.
    """
    names = [*COLUMNS[1:], "class"] if classes else list(COLUMNS[1:])
    if not Path(file).is_file():
        raise ValueError(f"candidates: no file {file}: give LUNA16's candidates.csv or one like it")
    found: dict[str, list[list[float]]] = {}
    try:
        for series, values in _rows(file, names):
            found.setdefault(series, []).append(values)
    except (OSError, UnicodeError, csv.Error) as error:
        raise ValueError(f"candidates: cannot read {file} ({error}): save it as a CSV in UTF-8") from error
    if not found:
        raise ValueError(f"candidates: {file} has no candidate, only the line of names: give a list with some")
    return found


def _rows(file: str | Path, names: Sequence[str]) -> Iterator[tuple[str, list[float]]]:
    """Yield the series and the values of each line."""
    with open(file, newline="", encoding="utf-8-sig") as stream:
        table = csv.DictReader(stream, skipinitialspace=True)
        columns = [str(name).strip() for name in table.fieldnames or []]
        table.fieldnames = columns
        missing = [name for name in ("seriesuid", *names) if name not in columns]
        if missing:
            raise ValueError(f"candidates: {file} lacks the column {missing[0]!r} (found {columns}): add it")
        for row in table:
            place = f"{file}, line {table.line_num}"
            values, series = _values(row, names, place), (row["seriesuid"] or "").strip()
            if not series:
                raise ValueError(f"candidates: {place}: seriesuid is empty, expected the name of a scan: correct it")
            yield series, values


def _values(row: Mapping[str, Any], names: Sequence[str], place: str) -> list[float]:
    values: list[float] = []
    for name in names:
        try:
            values.append(float(row[name]))
        except (TypeError, ValueError):
            values.append(math.nan)
        if not math.isfinite(values[-1]) or (name == "class" and values[-1] not in (0, 1)):
            expected = "0 or 1" if name == "class" else "a position in mm"
            raise ValueError(f"candidates: {place}: {name} is {row[name]!r}, expected {expected}: correct it")
    return values


def to_voxels(positions: Any, affine: np.ndarray) -> np.ndarray:
    """Return where positions in the patient lie in a grid of voxels, as fractions of voxels.

    Args:
        positions: mm, LPS.
        affine: voxel → mm, RAS, of any orientation.

    Shape:
        positions (N, 3) → (N, 3); affine (4, 4).
    """
    ras = np.asarray(positions, dtype=np.float64).reshape(-1, 3) * LPS_TO_RAS
    return np.linalg.solve(affine[:3, :3], (ras - affine[:3, 3]).T).T


def nearest_voxels(positions: Any, affine: np.ndarray, shape: Sequence[int] | None = None) -> Tensor:
    """Return the voxel of a grid that is nearest to each position (halves go up).

    Args:
        positions: mm, LPS.
        affine: voxel → mm, RAS.
        shape: sides of the grid in voxels; None lets voxels lie outside. A resampled scan begins and ends with the
            middles of the file's outermost voxels, so a position in their outer halves lies beyond its grid.

    Shape:
        positions (N, 3) → (N, 3), int64.
    """
    # rounding in a header moves a position on a voxel's face to either side of it
    voxels = np.floor(to_voxels(positions, affine).round(6) + 0.5).astype(np.int64)
    return torch.from_numpy(voxels if shape is None else voxels.clip(0, np.asarray(shape) - 1))


def outside(positions: Any, affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return which positions lie in no voxel of a scan.

    Args:
        positions: mm, LPS.
        affine: voxel → mm, RAS, of the scan's file.
        shape: its sides in voxels.

    Shape:
        positions (N, 3) → (N,), bool.
    """
    voxels = nearest_voxels(positions, affine).numpy()
    return np.any((voxels < 0) | (voxels >= np.asarray(shape)), axis=1)


def check_inside(entry: Mapping[str, Any], affine: np.ndarray, shape: Sequence[int]) -> None:
    """Reject candidates that lie outside their scan.

    Args:
        entry: of a datalist; keys image and candidates are read.
        affine: as for `outside`.
        shape: as for `outside`.

    Raises:
        ValueError: with one line that names the first such candidate.
    """
    positions = np.asarray([candidate[:3] for candidate in entry["candidates"]], dtype=np.float64).reshape(-1, 3)
    wrong = np.flatnonzero(outside(positions, affine, shape))
    if wrong.size:
        voxel = to_voxels(positions[wrong[:1]], affine)[0].round(1).tolist()
        raise ValueError(
            f"candidates: {wrong.size} of {len(positions)} lie outside {entry['image']}, first "
            f"{positions[wrong[0]].tolist()} mm (voxel {voxel} of {list(shape)}): positions are in mm, x to the left "
            "and y to the back (LPS); is it another scan's?"
        )


def cut_cube(volume: Any, center: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Crop one cube around a voxel from an array that can be sliced, padded by 0 beyond the volume.

    Args:
        volume: a NumPy array or an HDF5 data set; only the cube is read.
        center: the voxel that becomes voxel `shape // 2`.
        shape: of the cube.

    Shape:
        volume (H, W, D) → `shape`, of the volume's type.
    """
    begin = [int(middle) - side // 2 for middle, side in zip(center, shape, strict=True)]
    read = [
        slice(min(max(0, first), n), min(max(0, first + side), n))
        for first, side, n in zip(begin, shape, volume.shape, strict=True)
    ]
    cube = np.zeros(tuple(shape), dtype=volume.dtype)
    if all(part.stop > part.start for part in read):
        fill = tuple(slice(part.start - first, part.stop - first) for part, first in zip(read, begin, strict=True))
        cube[fill] = volume[tuple(read)]
    return cube


def cube_windows(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """View a zero-padded volume as the cubes around each of its voxels; `windows[:, x, y, z]` is one.

    Args:
        volume: in [0, 1].
        shape: of the cubes, whose voxel `shape // 2` is their center.

    Shape:
        volume (C, H, W, D) → (C, H, W, D, *shape), a view.
    """
    sides = [int(side) for side in shape]
    pads = [pad for side in reversed(sides) for pad in (side // 2, side - side // 2 - 1)]
    windows = torch.nn.functional.pad(volume.as_subclass(Tensor), pads)  # a MetaTensor's affine is not the cubes'
    for axis, side in enumerate(sides):
        windows = windows.unfold(1 + axis, side, 1)
    return windows


def cut_cubes_at(volume: Tensor, centers: Tensor, shape: Sequence[int]) -> Tensor:
    """Crop cubes around voxels of one volume, on its device.

    Args:
        volume: in [0, 1].
        centers: voxels, each of which becomes voxel `shape // 2` of its cube; they lie in the volume.
        shape: of the cubes.

    Shape:
        volume (C, H, W, D), centers (N, 3) → (N, C, *shape).
    """
    return gather_cubes(cube_windows(volume, shape), centers)


def gather_cubes(windows: Tensor, centers: Tensor) -> Tensor:
    """Copy the cubes around some voxels out of `cube_windows`.

    Shape:
        windows (C, H, W, D, *shape), centers (N, 3) → (N, C, *shape).
    """
    cubes = windows.new_empty((len(centers), windows.shape[0], *windows.shape[4:]))
    for cube, (x, y, z) in zip(cubes, centers.tolist(), strict=True):  # slices: three times as fast as one indexing
        cube.copy_(windows[:, x, y, z])
    return cubes
