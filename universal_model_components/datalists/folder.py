# SPDX-License-Identifier: Apache-2.0
"""The datalist of a user's own scans: one sub-folder for each modality, scans anywhere below it.

The split is by group (patient), see `splits`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..imaging.dicom import find_series, origin_of, slices_of
from ..imaging.dicom_header import MODALITIES, is_dicom
from ..imaging.scan_files import SUFFIXES, find_scans, name_other_images, stem
from ..utils.tables import read_table
from .splits import split_cases


def read_groups(file: str | Path) -> dict[str, str]:
    """Read the patient of each scan: a CSV with a column `case` or `image` and a column `group`.

    Returns:
        Group by case id without its suffix (`ct/a.nii.gz` and `ct/a` name the same scan).

    Raises:
        ValueError: when the file cannot be read, a column is missing, or a scan has two groups.
    """
    named: dict[str, str] = {}
    for row in read_table(Path(file), {"case": ("case", "image"), "group": ("group",)}, "groups"):
        name, group = stem(row["case"]), row["group"]
        if name and group and named.setdefault(name, group) != group:
            raise ValueError(f"groups: {file}: {name} is of {named[name]!r} and of {group!r}: keep one row")
    return named


def find_cases(
    root: Path, modalities: Sequence[str], groups: str | Path | None = None
) -> tuple[list[dict[str, str]], list[str]]:
    """Return the scans in the sub-folders of the modalities, and one line for each thing found wrong.

    Args:
        root: folder that holds `ct/`, `mri/`, …
        modalities: names of the sub-folders to take.
        groups: CSV of `read_groups`; a scan that it does not name is a group of its own.

    Raises:
        ValueError: when the groups are wrong.
    """
    named = read_groups(groups) if groups is not None else {}
    problems: list[str] = []
    cases: list[dict[str, str]] = []
    seen: dict[str, str] = {}
    names: set[str] = set()
    for modality in modalities:
        scans = list(find_scans(root / modality))
        if not scans:
            formats = ", ".join([*SUFFIXES, "DICOM"])
            problems.append(f"{root / modality}: no scan in it ({formats}): add some, or change modalities")
        problems += name_other_images(root / modality)
        for scan in scans:
            image = scan.relative_to(root).as_posix()
            case, patient, problem = _identify(scan, image, modality)
            names |= {stem(image), stem(case)}
            problem = problem or _unwritable(image)
            if problem:
                problems.append(problem)
                continue
            if stem(case) in seen:
                other = root / seen[stem(case)]
                if is_dicom(scan) and _places(scan) != _places(other):
                    cases = [kept for kept in cases if stem(kept["case"]) != stem(case)]
                    problems.append(f"{scan}: another part of the series in {other}: both skipped, use one folder")
                else:
                    problems.append(f"{scan}: has the same id as {other}: skipped, remove or rename one")
                continue
            seen[stem(case)] = image
            group = named.get(stem(image)) or named.get(stem(case)) or patient or stem(case)
            cases.append({"image": image, "modality": modality, "case": case, "group": group})
    problems += [f"groups: no scan {name!r} in {root}: correct {groups}" for name in named if name not in names]
    return cases, problems + _strays(root, modalities)


def _unwritable(image: str) -> str | None:
    """Return what is wrong with a name that no list can hold: bytes that are no text."""
    try:
        image.encode()
    except UnicodeEncodeError:
        return f"{image!a}: its name is not UTF-8: skipped, rename it"
    return None


def _places(series: Path) -> set[tuple[float, ...]]:
    """Return where the slices of a DICOM series lie, to a hundredth of a mm."""
    return {tuple(round(value, 2) for value in one.place[:3]) for one in slices_of(series)}


def _identify(scan: Path, image: str, modality: str) -> tuple[str, str | None, str | None]:
    """Return the case id of a scan, its patient where known, and what is wrong: a series in another modality's folder.

    Of a DICOM series both are hashes: folders and files are often named by the patient.
    """
    origin = origin_of(scan)
    if origin is None:
        return image, None, None
    problem = None
    if modality in MODALITIES.values() and origin.modality != modality:
        problem = f"{scan}: a DICOM series of {origin.modality!r} in the folder of {modality!r}: skipped, move it"
    return f"{modality}/{origin.hashed_series}", origin.hashed_patient, problem


def folder_datalist(
    dataset_dir: str | Path,
    modalities: Sequence[str],
    seed: int = 0,
    validation_fraction: float = 0.2,
    groups: str | Path | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Make the datalist of a folder with one sub-folder for each modality; only headers of DICOM files are read.

    Args:
        dataset_dir: folder that holds `ct/`, `mri/`, …
        modalities: names of the sub-folders to take.
        seed: of the split.
        validation_fraction: share of each modality's groups used for validation.
        groups: CSV of `read_groups`; a scan that it does not name is a group of its own.

    Returns:
        The datalist, and one line for each thing found wrong: an empty, missing or unknown sub-folder, two scans
        with one id, a scan outside the sub-folders, a group for a missing scan.

    Raises:
        ValueError: when the folder is missing, or the groups or the fraction are wrong.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise ValueError(f"dataset_dir: {root} is not a folder: give the one that holds {list(modalities)}")
    cases, problems = find_cases(root, modalities, groups)
    splits = split_cases(cases, validation_fraction, seed)
    return {"name": "folder", "version": 1, "seed": seed, **splits}, problems


def _strays(root: Path, modalities: Sequence[str]) -> list[str]:
    problems = []
    for entry in sorted(root.iterdir()):
        if entry.is_file() and entry.name.lower().endswith(SUFFIXES):
            problems.append(_stray(entry, modalities))
        elif entry.is_dir() and entry.name not in modalities and next(find_scans(entry), None):
            problems.append(f"{entry}: unknown modality {entry.name!r}: skipped, add it to modalities or move it away")
    return problems + [_stray(series, modalities) for series in find_series(root, os.listdir(root))]


def _stray(scan: Path, modalities: Sequence[str]) -> str:
    return f"{scan}: not in the folder of a modality: skipped, move it to one of {list(modalities)}"
