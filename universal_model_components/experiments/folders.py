# SPDX-License-Identifier: Apache-2.0
"""Folders of scans that a grid names: their files, and the people that these show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SUFFIXES = (".nii", ".nii.gz")


def unpacked(file: str) -> str:
    """Return a file's name without its folder and without .nii or .nii.gz."""
    return Path(file).name.removesuffix(".gz").removesuffix(".nii")


def person_of(file: str, pattern: str | None) -> str:
    """Return the person that a scan shows: what a regular expression finds in its name, without one the whole name.

    Args:
        file: of the scan.
        pattern: its first group, where it has one, is the person.

    Raises:
        ValueError: when it finds nothing.
    """
    name = unpacked(file)
    if pattern is None:
        return name
    found = re.search(pattern, name)
    if found is None:
        raise ValueError(f"group: {pattern!r} finds nothing in {file}: correct it, or exclude the scan")
    return found[1] if found.re.groups else found[0]


def people_of(name: str, entry: Mapping[str, Any]) -> str:
    """Return whose scans a task or a folder has: tasks of the same people share a split."""
    return str(entry.get("people", name))


def find_scans(where: str, source: Mapping[str, Any], people: str, data: Path) -> list[dict[str, Any]]:
    """List the NIfTI files of a folder, hidden ones left out, each with its modality and the person that it shows.

    Args:
        where: it is named in the grid, for messages.
        source: its entry: "images" (a folder), "modality", and where given "group" (a pattern) and "exclude" (names).
        people: whose scans these are, see `people_of`.
        data: folder that the grid's paths are relative to.

    Raises:
        ValueError: when there is no file, or one to exclude is not there.
    """
    folder = data / source["images"]
    files = sorted(
        file.name for file in folder.glob("*") if not file.name.startswith(".") and file.name.endswith(SUFFIXES)
    )
    left_out = [unpacked(name) for name in source.get("exclude", [])]
    if missing := sorted(set(left_out) - {unpacked(file) for file in files}):
        raise ValueError(f"{where}: exclude: no {missing[0]!r} in {folder}: correct it, or leave it out")
    files = [file for file in files if unpacked(file) not in left_out]
    if not files:
        raise ValueError(f"{where}: no NIfTI file in {folder}: correct 'images', or give --data DIR")
    return [
        {
            "image": f"{source['images']}/{file}",
            "modality": source["modality"],
            "group": f"{people}/{person_of(file, source.get('group'))}",
        }
        for file in files
    ]
