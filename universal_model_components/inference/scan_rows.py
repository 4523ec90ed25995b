# SPDX-License-Identifier: Apache-2.0
"""The rows of a table of features: whole scans, or points in them, from a scan, a folder, a datalist or a CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datalists.reader import open_datalist
from ..imaging.scan_files import stem
from ..utils.settings import to_optional
from ..utils.tables import read_table
from .inputs import list_scans

COLUMNS = {
    "image": ("image", "image_path"),
    "x": ("x", "coordX"),
    "y": ("y", "coordY"),
    "z": ("z", "coordZ"),
    "size": ("size",),
    "modality": ("modality",),
}


@dataclass(frozen=True)
class ScanRow:
    """A scan, or a cube in it, whose features are one row.

    Args:
        image: path of the scan.
        case: its id.
        modality: None where the weights were trained on one modality.
        point: center of the cube, mm, LPS; None for the whole scan.
        size: sides of the cube from left to right, back to front, bottom to top, mm; None for a patch of the encoder.
    """

    image: str
    case: str
    modality: str | None = None
    point: tuple[float, ...] | None = None
    size: tuple[float, ...] | None = None


def list_rows(
    scans: str | Path,
    modalities: Sequence[str] | None = None,
    modality: str | None = None,
    dataset_dir: str | Path | None = None,
    split: str | None = None,
) -> list[ScanRow]:
    """List what a table of features has rows for.

    Args:
        scans: a scan; a folder, as `inputs.list_scans`; a datalist (.json); or a CSV with a column image and, for
            points, x, y, z (mm, LPS); a row without them is a whole scan. Its columns size (mm, one number or three
            separated by spaces) and modality are optional.
        modalities: that the weights know; None for one, which needs no name.
        modality: of every scan; None takes it from the datalist, the CSV, or the name of the folder.
        dataset_dir: folder that the paths of a datalist or CSV are relative to; by default the datalist's key `root`,
            or the file's folder.
        split: list of the datalist; None takes all.

    Raises:
        ValueError: when nothing is listed, a file cannot be read, or an entry is invalid; one line.
    """
    path, modality = Path(scans), to_optional(modality)
    root = None if to_optional(dataset_dir) is None else Path(str(dataset_dir))
    suffix = path.suffix.lower() if path.is_file() else ""
    if to_optional(split) is not None and suffix != ".json":
        raise ValueError(f"split: {split!r} is a list of a datalist, which {path} is not: leave it out")
    if suffix == ".csv":
        rows = list(_table_rows(path, root or path.parent, modalities, modality))
        if not rows:
            raise ValueError(f"scans: {path} has no row, only the line of names: list a scan on each line")
        return rows
    if path.is_file() and suffix != ".json":
        return [ScanRow(str(path), stem(path.name), _modality_of(path, modality, modalities))]
    if suffix == ".json":
        root = root or Path(open_datalist(path).get("root") or path.parent)
    elif not path.is_dir():
        raise ValueError(f"scans: no file or folder {path}: give a scan, a folder, a datalist or a CSV")
    datalist = path if suffix == ".json" else None
    listed = list_scans(root if datalist and root else path, datalist, split, modalities, modality)
    return [ScanRow(entry["image"], entry["case"], entry.get("modality")) for entry in listed]


def _modality_of(image: Path, given: str | None, modalities: Sequence[str] | None) -> str | None:
    """Return a scan's modality: as given, or its folder's name; None where there is only one."""
    if modalities is None:
        return None
    name = given or image.parent.name
    if name not in modalities:
        raise ValueError(f"modality: {name!r} of {image} is not one of {list(modalities)}: give modality")
    return name


def _table_rows(file: Path, root: Path, modalities: Sequence[str] | None, modality: str | None) -> Iterator[ScanRow]:
    optional = [name for name in COLUMNS if name != "image"]
    for number, row in enumerate(read_table(file, COLUMNS, "scans", optional), start=1):
        where = f"scans: {file}, row {number}"
        if not row["image"]:
            raise ValueError(f"{where}: image is empty, expected the path of a scan: correct it")
        image, position = root / row["image"], [row.get(axis, "") for axis in "xyz"]
        point = _numbers(where, "x, y, z", " ".join(position), (3,)) if any(position) else None
        size = _numbers(where, "size", row["size"], (1, 3)) if row.get("size") else None
        if size is not None and (point is None or min(size) <= 0):
            raise ValueError(
                f"{where}: size is {row['size']!r}, expected a cube's sides in mm around a point: correct it"
            )
        known = modality or row.get("modality") or None
        sides = None if size is None else size * (3 // len(size))
        yield ScanRow(str(image), stem(row["image"]), _modality_of(image, known, modalities), point, sides)


def _numbers(where: str, name: str, text: str, counts: Sequence[int]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split())
    except ValueError:
        numbers = (math.nan,)
    if len(numbers) not in counts or not all(map(math.isfinite, numbers)):
        expected = " or ".join(map(str, counts))
        raise ValueError(f"{where}: {name} is {text.strip()!r}, expected {expected} numbers in mm: correct it")
    return numbers


def identity_columns(rows: Sequence[ScanRow]) -> Mapping[str, list[Any]]:
    """Return the columns that say which scan or point each row is; those without any value are left out."""
    columns: dict[str, list[Any]] = {
        "image": [row.image for row in rows],
        "case": [row.case for row in rows],
        "modality": [row.modality for row in rows],
    }
    for axis, name in enumerate("xyz"):
        columns[name] = [None if row.point is None else row.point[axis] for row in rows]
    columns["size"] = [None if row.size is None else " ".join(f"{side:g}" for side in row.size) for row in rows]
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}
