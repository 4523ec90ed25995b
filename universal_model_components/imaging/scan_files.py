# SPDX-License-Identifier: Apache-2.0
"""Scan files by name: their suffixes and ids, the scans below a folder, the files and the hash of one scan."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .dicom import find_series, origin_of, slices_of
from .dicom_header import is_dicom
from .errors import ScanError

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (*NIFTI, ".mha", ".mhd", ".nrrd")


def stem(file: str | Path) -> str:
    """Return the path without its scan suffix: `ct/a.nii.gz` and `ct/a.nii` have the one id `ct/a`."""
    text = Path(file).as_posix()
    suffix = max((s for s in SUFFIXES if text.lower().endswith(s)), key=len, default="")
    return text[: len(text) - len(suffix)]


def names_of(scan: Path) -> set[str]:
    """Return the names by which a list may call a scan: that of its file, and the UID of a DICOM series."""
    origin = origin_of(scan)
    return {stem(scan.name), *([origin.series] if origin else [])}


def find_scans(folder: Path) -> Iterator[Path]:
    """Yield the scans below a folder, sorted; hidden ones are skipped, links are followed, folders visited once.

    A DICOM series is yielded as its folder, or as the first of its files where several share a folder.
    """
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:  # by a link: the same scan under two ids could be in both splits
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(parent) / name
        yield from find_series(parent, (name for name in files if not name.lower().endswith(SUFFIXES)))


def content_hash(file: str | Path) -> str:
    """Return the SHA-256 of a scan's bytes; of a MetaImage header also those of the data file that it names.

    Of a DICOM series it is that of all its files, in the order of their names.

    Raises:
        ScanError: when the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for part in parts_of(file):
            with open(part, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise ScanError(f"{file}: {error.strerror}: correct the datalist or fetch the scan") from error
    return digest.hexdigest()


def parts_of(file: str | Path) -> list[Path]:
    """Return the files of a scan: itself and, of a MetaImage header, the data file that it names, if it exists.

    Raises:
        ScanError: when a path of DICOM files is not one series.
    """
    header = Path(file)
    if is_dicom(header):
        return [part.file for part in slices_of(header)]
    if header.suffix.lower() != ".mhd":
        return [header]
    named = re.search(rb"ElementDataFile\s*=\s*(\S.*?)\s*$", header.read_bytes(), re.MULTILINE)
    data = header.parent / os.fsdecode(named[1]) if named else None
    return [header, data] if data and data.is_file() else [header]
