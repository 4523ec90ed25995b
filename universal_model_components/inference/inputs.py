# SPDX-License-Identifier: Apache-2.0
"""The scans that inference takes: those of a folder, of a datalist, or of a list of candidates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datalists.reader import check_keys, open_datalist
from ..imaging.scan_files import SUFFIXES, find_scans, stem
from ..tasks.candidates import read_candidates
from ..tasks.segmentation_data import read_cases
from ..utils.settings import to_bool, to_optional


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
        ValueError: when the folder is missing or has no scan, the datalist cannot be read, a modality is unknown, or
            two scans have one name.
    """
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
    content = open_datalist(file)
    listed = [(split, entry) for split, entries in content.items() if isinstance(entries, list) for entry in entries]
    for split, entry in listed:
        check_keys(f"datalist: {file}: an entry of {split!r}", entry, ("image",))
    return [entry for _, entry in listed]


logger = logging.getLogger(__name__)


def list_candidates(
    dataset_dir: str,
    candidates: str | None = None,
    datalist: str | None = None,
    split: str = "test",
    strict: bool | str = False,
) -> list[dict[str, Any]]:
    """List scans with their candidates, a scan once.

    Args:
        dataset_dir: a folder of scans, at any depth, or one scan; a scan's name is its series. Also what a datalist's
            paths are relative to.
        candidates: CSV as LUNA16's, classes not needed; None looks for `candidates.csv` in `dataset_dir`.
        datalist: JSON whose entries have `candidates`, instead of the two above; None for none.
        split: list of the datalist.
        strict: a series of the CSV that has no scan is an error; otherwise it is named in the log, and left out.

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
    images: dict[str, Path] = {}
    for image in [root] if root.is_file() else find_scans(root):
        first = images.setdefault(stem(image.name), image)
        if first != image and stem(image.name) in listed:
            raise ValueError(f"candidates: {image} and {first} are both the scan of a series: remove one")
    unknown = [series for series in listed if series not in images]
    if len(unknown) == len(listed):
        raise ValueError(f"candidates: no series of {file} has a scan in {root} (first: {unknown[0]})")
    if unknown:
        message = f"candidates: {len(unknown)} of {len(listed)} series of {file} have no scan, first: {unknown[0]}"
        if to_bool(strict, "strict"):
            raise ValueError(f"{message}: give a folder that has them, or strict false")
        logger.warning("%s; they are left out", message)
    return [
        {"image": str(images[series]), "case": series, "seriesuid": series, "candidates": positions}
        for series, positions in listed.items()
        if series in images
    ]


def list_subjects(dataset_dir: str, datalist: str | None = None, split: str = "test") -> list[dict[str, Any]]:
    """List scans, one a subject: those of a datalist's split, by its case ids, or all below a folder, by their names.

    Raises:
        ValueError: as `list_images`.
    """
    if to_optional(datalist) is not None:
        cases = read_cases(str(datalist), dataset_dir, split, keys=("image",))
        return [{"image": case["image"], "case": case["case"]} for case in cases]
    images = [entry["image"] for entry in list_images(dataset_dir)]
    return [{"image": image, "case": stem(Path(image).relative_to(dataset_dir))} for image in images]


def list_images(dataset_dir: str | Path, datalist: str | Path | None = None, split: str = "test") -> list[dict]:
    """List the scans for inference: those of a datalist's split, or all that are below a folder.

    Args:
        dataset_dir: folder of scans; also what a datalist's paths are relative to.
        datalist: JSON, or None to search the folder.
        split: list of the datalist.

    Raises:
        ValueError: when there is no scan, or two would write one result.
    """
    datalist = to_optional(datalist)
    if datalist is not None:
        return [{"image": case["image"]} for case in read_cases(datalist, dataset_dir, split, keys=("image",))]
    files = list(find_scans(Path(dataset_dir)))
    if not files:
        raise ValueError(f"dataset_dir: no scan in {dataset_dir} ({', '.join(SUFFIXES)}): give a folder that has some")
    seen: dict[str, Path] = {}
    for file in files:
        if stem(file) in seen:
            raise ValueError(f"{file}: would be written over {seen[stem(file)]}'s result: rename or remove one")
        seen[stem(file)] = file
    return [{"image": str(file)} for file in files]
