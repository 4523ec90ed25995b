# SPDX-License-Identifier: Apache-2.0
"""The scans that inference reads: from a datalist or a folder, with their modality or their candidates."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datalists.reader import open_datalist
from ..imaging.scan_files import SUFFIXES, find_scans, name_other_images, names_of, stem
from ..tasks.candidates import read_candidates
from ..tasks.segmentation_data import read_cases
from ..utils.settings import to_bool, to_optional
from .naming import LONGEST, result_name

logger = logging.getLogger(__name__)


def list_scans(
    dataset_dir: str | Path,
    datalist: str | Path | None = None,
    split: str | None = None,
    modalities: Sequence[str] | None = None,
    modality: str | None = None,
    output_dir: str | Path | None = None,
) -> list[dict[str, str]]:
    """List the scans for inference.

    Args:
        dataset_dir: folder of scans, searched recursively; also what a datalist's paths are relative to.
        datalist: MONAI datalist in JSON; None lists the folder.
        split: list of the datalist; None takes all lists.
        modalities: allowed modalities, and the sub-folders to search; None for a task, whose scans have one modality.
        modality: of every scan, in any folder; None takes it from the sub-folder or the datalist.
        output_dir: of the results: where it is a folder below `dataset_dir`, what lies in it is no scan.

    Returns:
        Dicts with keys image (path), case (id in the datalist, or path in the folder without suffix) and, with
        `modalities`, modality.

    Raises:
        ValueError: when there is no scan, the datalist cannot be read, a modality is unknown, or two scans would be
            written to one file. Files are not opened: one that is missing is skipped when it is read.
    """
    root, datalist, modality = Path(dataset_dir), to_optional(datalist), to_optional(modality)
    if datalist is not None:
        scans = list(_listed(root, datalist, to_optional(split)))
    else:
        folders = [root] if modality or modalities is None else [root / name for name in modalities]
        files = [(file, folder.name) for folder in folders for file in find_scans(folder)]
        results = _results_below(root, output_dir)
        kept = [(file, name) for file, name in files if results is None or not file.resolve().is_relative_to(results)]
        scans = [_scan(file, root, name) for file, name in kept]
        if len(scans) < len(files):
            logger.warning("%d files in %s, the folder of the results: left out", len(files) - len(scans), output_dir)
        for line in (line for folder in folders for line in name_other_images(folder)):
            logger.warning(line)
    if modality:
        scans = [{**scan, "modality": modality} for scan in scans]
    _check(scans, root, modalities)
    keys = ("image", "case") if modalities is None else ("image", "case", "modality")
    return [{key: scan[key] for key in keys} for scan in scans]


def _results_below(root: Path, output_dir: str | Path | None) -> Path | None:
    """Return the folder of the results where it lies below that of the scans."""
    if output_dir is None:
        return None
    results, scans = Path(output_dir).resolve(), root.resolve()
    return results if results != scans and results.is_relative_to(scans) else None


def _scan(file: Path, root: Path, modality: str) -> dict[str, Any]:
    case = stem(file.relative_to(root)) if file != root else file.name  # the root itself: a folder of DICOM slices
    return {"image": str(file), "case": case, "modality": modality}


def _listed(root: Path, datalist: str | Path, split: str | None) -> Iterator[dict[str, Any]]:
    """Yield the entries of one list of a datalist, or of all its lists."""
    content = open_datalist(datalist)
    for name in [name for name, value in content.items() if isinstance(value, list)] if split is None else [split]:
        yield from read_cases(datalist, root, name, keys=("image",), optional=split is None, check_files=False)


def _check(scans: Sequence[Mapping[str, Any]], root: Path, modalities: Sequence[str] | None) -> None:
    if not scans:
        where = root if root.is_dir() else f"{root}, which is not a folder"
        which = "" if modalities is None else f" in sub-folders {list(modalities)}, or modality"
        formats = ", ".join([*SUFFIXES, "DICOM"])
        raise ValueError(f"dataset_dir: no scan in {where}: give a folder of scans ({formats}){which}")
    seen: dict[str, str] = {}
    for scan in scans:
        file, name = scan["image"], scan.get("modality")
        if modalities is not None and name not in modalities:
            raise ValueError(f"modality: {name!r} of {file} is not one of {list(modalities)}: give modality")
        result = result_name(file, root)
        if result in seen:
            raise ValueError(f"{file}: would be written over {seen[result]}'s result: rename or remove one")
        if len(os.fsencode(result.rpartition("/")[2])) > LONGEST:
            raise ValueError(f"{file}: its name is longer than {LONGEST} bytes, too long for a result's: rename it")
        seen[result] = file


def list_candidates(
    dataset_dir: str,
    candidates: str | None = None,
    datalist: str | None = None,
    split: str = "test",
    strict: bool | str = False,
) -> list[dict[str, Any]]:
    """List scans with their candidates, each scan once.

    Args:
        dataset_dir: a folder of scans, at any depth, or one scan; a scan's name is its series. Also what a datalist's
            paths are relative to.
        candidates: CSV as LUNA16's, classes not needed; None looks for `candidates.csv` in `dataset_dir`.
        datalist: JSON whose entries have `candidates`, instead of the two above; None for none.
        split: list of the datalist.
        strict: a series of the CSV without a scan is an error; otherwise it is logged and skipped.

    Returns:
        Dicts with keys image, case, seriesuid and candidates (each [x, y, z, …], mm, LPS).

    Raises:
        ValueError: when a file cannot be read, or no scan has candidates.
    """
    if to_optional(datalist) is not None:
        cases = read_cases(str(datalist), dataset_dir, split, keys=("image", "candidates"), check_files=False)
        for case in cases:
            _check_positions(case["candidates"], f"datalist: {datalist}: {case['case']!r} in {split!r}")
        return [{"seriesuid": case["case"], **case} for case in cases if case["candidates"]]
    root = Path(dataset_dir)
    file = to_optional(candidates) or root / "candidates.csv"
    listed = read_candidates(file)
    images = _images_of(listed, root)
    unknown = [series for series in listed if series not in images]
    if len(unknown) == len(listed):
        raise ValueError(f"candidates: no series of {file} has a scan in {root} (first: {unknown[0]})")
    if unknown:
        _leave_out(f"{len(unknown)} of {len(listed)} series of {file} have no scan, first: {unknown[0]}", strict)
    found = [series for series in listed if series in images]
    return [{"image": str(images[one]), "case": one, "seriesuid": one, "candidates": listed[one]} for one in found]


def _images_of(listed: Mapping[str, Any], root: Path) -> dict[str, Path]:
    """Find the scan of each listed series, by its name."""
    images: dict[str, Path] = {}
    for image in [root] if root.is_file() else find_scans(root):
        for name in names_of(image):
            first = images.setdefault(name, image)
            if first != image and name in listed:
                raise ValueError(f"candidates: {image} and {first} are both the scan of a series: remove one")
    return images


def _check_positions(candidates: Any, where: str) -> None:
    """Check that candidates are a list of positions, with or without a class."""
    listed = isinstance(candidates, list)
    for one in candidates if listed else [candidates]:
        numbers = one[:3] if listed and isinstance(one, list) else []
        if len(numbers) < 3 or not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            raise ValueError(f"{where}: candidates has {one!r}, expected a list of [x, y, z], mm")


def _leave_out(what: str, strict: bool | str) -> None:
    if to_bool(strict, "strict"):
        raise ValueError(f"candidates: {what}: give a folder that has them, or strict false")
    logger.warning("candidates: %s; they are left out", what)
