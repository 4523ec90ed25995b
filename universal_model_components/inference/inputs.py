# SPDX-License-Identifier: Apache-2.0
"""The scans that inference reads: from a datalist or a folder, with their modality or their candidates."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datalists.reader import check_keys, open_datalist
from ..imaging.scan_files import SUFFIXES, find_scans, names_of, stem
from ..tasks.candidates import read_candidates
from ..tasks.segmentation_data import read_cases
from ..utils.settings import to_bool, to_optional

logger = logging.getLogger(__name__)


def list_scans(
    dataset_dir: str | Path,
    datalist: str | Path | None = None,
    split: str | None = None,
    modalities: Sequence[str] | None = None,
    modality: str | None = None,
) -> list[dict[str, str]]:
    """List the scans for inference.

    Args:
        dataset_dir: folder of scans, searched recursively; also what a datalist's paths are relative to.
        datalist: MONAI datalist in JSON; None lists the folder.
        split: list of the datalist, whose files must exist; None takes all lists, unchecked.
        modalities: allowed modalities, and the sub-folders to search; None for a task, whose scans have one modality.
        modality: of every scan, in any folder; None takes it from the sub-folder or the datalist.

    Returns:
        Dicts with keys image (path), case (id in the datalist, or path in the folder without suffix) and, with
        `modalities`, modality.

    Raises:
        ValueError: when there is no scan, the datalist cannot be read, a modality is unknown, or two scans would be
            written to one file.
    """
    root, datalist, modality = Path(dataset_dir), to_optional(datalist), to_optional(modality)
    if datalist is not None:
        scans = list(_listed(root, datalist, to_optional(split)))
    else:
        folders = [root] if modality or modalities is None else [root / name for name in modalities]
        scans = [_scan(file, root, folder.name) for folder in folders for file in find_scans(folder)]
    if modality:
        scans = [{**scan, "modality": modality} for scan in scans]
    _check(scans, root, modalities)
    keys = ("image", "case") if modalities is None else ("image", "case", "modality")
    return [{key: scan[key] for key in keys} for scan in scans]


def _scan(file: Path, root: Path, modality: str) -> dict[str, Any]:
    case = stem(file.relative_to(root)) if file != root else file.name  # the root itself: a folder of DICOM slices
    return {"image": str(file), "case": case, "modality": modality}


def _listed(root: Path, datalist: str | Path, split: str | None) -> Iterator[dict[str, Any]]:
    """Yield the entries of one list of a datalist, checked, or those of all its lists."""
    if split is not None:
        yield from read_cases(datalist, root, split, keys=("image",))
        return
    for name, entries in open_datalist(datalist).items():
        for entry in entries if isinstance(entries, list) else ():
            check_keys(f"datalist: {datalist}: an entry of {name!r}", entry, ("image",))
            yield {"case": stem(str(entry["image"])), **entry, "image": str(root / entry["image"])}


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
        if stem(file) in seen:
            raise ValueError(f"{file}: would be written over {seen[stem(file)]}'s result: rename or remove one")
        seen[stem(file)] = file


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
        cases = read_cases(str(datalist), dataset_dir, split, keys=("image", "candidates"))
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


def _leave_out(what: str, strict: bool | str) -> None:
    if to_bool(strict, "strict"):
        raise ValueError(f"candidates: {what}: give a folder that has them, or strict false")
    logger.warning("candidates: %s; they are left out", what)
