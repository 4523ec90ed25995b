# SPDX-License-Identifier: Apache-2.0
"""Scan files by name: their suffixes and ids, the scans below a folder, the files and the hash of one scan."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from .dicom import find_series, origin_of, slices_of
from .dicom_header import is_dicom
from .errors import ScanError

logger = logging.getLogger(__name__)

PAIRS = {".hdr": ".img", ".hdr.gz": ".img.gz"}  # NIfTI in two files: the header, which stands for both, and the voxels
NIBABEL = (".nii", ".nii.gz", *PAIRS, *PAIRS.values(), ".mgh", ".mgz")  # read by nibabel, everything else by ITK
DETACHED = (".mhd", ".nhdr")  # headers that name the files of their voxels
SUFFIXES = (*NIBABEL, ".mha", ".nrrd", *DETACHED)
OTHER_IMAGES = (
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".mnc", ".head", ".par", ".gipl", ".gipl.gz", ".vtk", ".vti"),
    *(".tif", ".tiff", ".npy", ".npz"),
)  # volumes of formats that are not looked for; a folder that has some is named

NAMED_DATA = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)


def suffix_of(file: str | Path) -> str:
    """Return the suffix of a scan in lower case, such as `.nii.gz`; empty for another file."""
    name = Path(file).name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def stem(file: str | Path) -> str:
    """Return the path without its scan suffix: `ct/a.nii.gz` and `ct/a.nii` have the one id `ct/a`."""
    text = Path(file).as_posix()
    return text[: len(text) - len(suffix_of(text))]


def names_of(scan: Path) -> set[str]:
    """Return the names by which a list may call a scan: that of its file, and the UID of a DICOM series."""
    origin = origin_of(scan)
    return {stem(scan.name), *([origin.series] if origin else [])}


def find_scans(folder: Path) -> Iterator[Path]:
    """Yield the scans below a folder, sorted; hidden ones are skipped, links are followed, folders visited once.

    A folder that cannot be listed is named in the log. Of a NIfTI pair (`.hdr`, `.img`) it is the header. A DICOM
    series is yielded as its folder, or as the first of its files where several share a folder.
    """
    for parent, names in _walk(folder, _name_unlisted):
        present = {name.lower() for name in names}
        voxels = {name[: -len(hdr)] + img for hdr, img in PAIRS.items() for name in present if name.endswith(hdr)}
        for name in names:
            if suffix_of(name) and name.lower() not in voxels:
                yield parent / name
        yield from find_series(parent, (name for name in names if not suffix_of(name)))


def name_other_images(folder: Path) -> list[str]:
    """Return one line when there are images below a folder that are not read, none otherwise."""
    other = [parent / name for parent, names in _walk(folder) for name in names if name.lower().endswith(OTHER_IMAGES)]
    if not other:
        return []
    return [f"{other[0]}: not a format that is read ({len(other)} such files): convert to {', '.join(SUFFIXES[:2])}"]


def _name_unlisted(error: OSError) -> None:
    if os.path.isdir(error.filename):  # one that is not there is somebody else's line
        logger.warning("%s: cannot be listed (%s): what is in it is left out", error.filename, error.strerror)


def _walk(folder: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder below one, and itself, once, with its visible files, sorted."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=on_error):
        if os.path.realpath(parent) in seen:  # by a link: the same scan under two ids could be in both splits
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent), sorted(name for name in files if not name.startswith("."))


def content_hash(file: str | Path) -> str:
    """Return the SHA-256 of a scan's bytes; of a header in a file of its own also those of its voxels' files.

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
    """Return the files of a scan: itself, the other one of a NIfTI pair, and those that a header names, if they exist.

    Of a DICOM series they are its slices.

    Raises:
        OSError: when a header cannot be read.
        ScanError: when a path of DICOM files is not one series.
    """
    header, suffix = Path(file), suffix_of(file)
    if is_dicom(header):
        return [part.file for part in slices_of(header)]
    if suffix in DETACHED:
        return [header, *(part for part in _named_data(header) if part.is_file())]
    partner = {**PAIRS, **{voxels: header for header, voxels in PAIRS.items()}}.get(suffix, suffix)
    others = [Path(stem(header) + end) for end in (partner, partner.upper()) if partner != suffix]
    return [header, *[other for other in others if other.is_file()][:1]]


def _named_data(header: Path) -> list[Path]:
    """Return the files that a MetaImage or NRRD header names: one, a LIST on the next lines, or a numbered series."""
    text = header.read_bytes()
    found = NAMED_DATA.search(text)
    if found is None:
        return []
    first = os.fsdecode(found[1])
    names = [first]
    series = re.fullmatch(r"(.*%0?\d*d.*?)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?", first)
    if first.split()[0].upper() == "LIST":
        names = [line.strip() for line in os.fsdecode(text[found.end() :]).splitlines() if line.strip()]
    elif series:
        names = [series[1] % number for number in range(int(series[2]), int(series[3]) + 1, int(series[4]) or 1)]
    return [header.parent / name for name in names]
