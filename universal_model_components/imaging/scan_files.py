# SPDX-License-Identifier: Apache-2.0
"""Scan files by name: their suffixes and ids, the scans below a folder, the files and the hash of one scan."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .errors import ScanError

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (*NIFTI, ".mha", ".mhd", ".nrrd")


def stem(file: str | Path) -> str:
    """Return the path without its scan suffix: `ct/a.nii.gz` and `ct/a.nii` have the one id `ct/a`."""
    text = Path(file).as_posix()
    suffix = max((s for s in SUFFIXES if text.lower().endswith(s)), key=len, default="")
    return text[: len(text) - len(suffix)]


def find_scans(folder: Path) -> Iterator[Path]:
    """Yield the scans below a folder, sorted; hidden ones are skipped, links are followed, folders visited once."""
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


def content_hash(file: str | Path) -> str:
    """Return the SHA-256 of a scan's bytes; of a MetaImage header also those of the data file that it names.

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
    """Return the files of a scan: itself and, of a MetaImage header, the data file that it names, if it exists."""
    header = Path(file)
    if header.suffix.lower() != ".mhd":
        return [header]
    named = re.search(rb"ElementDataFile\s*=\s*(\S.*?)\s*$", header.read_bytes(), re.MULTILINE)
    data = header.parent / os.fsdecode(named[1]) if named else None
    return [header, data] if data and data.is_file() else [header]
