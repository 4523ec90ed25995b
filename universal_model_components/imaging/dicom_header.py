# SPDX-License-Identifier: Apache-2.0
"""The header of one DICOM image, as GDCM reads it: which series and patient it is of, where it lies, what is wrong."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import itk
import numpy as np

from .errors import one_line

STORAGE = "1.2.840.10008.5.1.4.1.1."  # DICOM PS3.6: the beginning of every image class
SINGLE_FRAME = {"2": "ct", "4": "mri", "128": "pet"}
MULTI_FRAME = {"2.1": "ct", "2.2": "ct", "4.1": "mri", "4.4": "mri", "130": "pet", "128.1": "pet"}
MODALITIES = {STORAGE + end: name for end, name in (SINGLE_FRAME | MULTI_FRAME).items()}
SUFFIXES = (".dcm", ".dicom", ".ima")  # of files without DICOM's preamble; one with a preamble may have any name
TAGS = {
    "type": "0008|0008",
    "class": "0008|0016",
    "patient": "0010|0020",
    "series": "0020|000e",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "frames": "0028|0008",
    "spacing": "0028|0030",
}
PERPENDICULAR = 0.01  # how far the lengths and the product of the direction cosines may be from 1 and 0


@dataclass(frozen=True)
class Slice:
    """What is needed of one image's header.

    Args:
        file: of the image.
        series: SeriesInstanceUID.
        patient: PatientID.
        modality: "ct", "mri" or "pet".
        localizer: whether it is a planning image.
        problem: why the image cannot be used, one line without the file; then what follows has no meaning.
        shape: columns and rows.
        place: ImagePositionPatient, then ImageOrientationPatient: mm, and direction cosines of a row and of a column.
        spacing: PixelSpacing: mm between rows, and between columns.
        whole: type of the voxels when they are whole numbers, otherwise empty.
    """

    file: Path
    series: str
    patient: str
    modality: str
    localizer: bool = False
    problem: str = ""
    shape: tuple[int, ...] = ()
    place: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    whole: str = ""

    @property
    def hashed_series(self) -> str:
        """A name of the series that tells nothing: DICOM's own ids are written nowhere."""
        return f"series-{_hashed(self.series)}"

    @property
    def hashed_patient(self) -> str | None:
        """Likewise of the patient; None without a PatientID."""
        return f"patient-{_hashed(self.patient)}" if self.patient else None


def _hashed(name: str) -> str:
    """Return a short hash of a header's text, which may be in any encoding."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


def is_dicom(file: str | Path) -> bool:
    """Return whether a path is a folder, which may hold a series, or a DICOM file."""
    path = Path(file)
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return path.exists()
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_slice(file: Path) -> Slice | None:
    """Read the header of one image; None when it is not one of CT, MR or PET."""
    reader = itk.GDCMImageIO.New()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:  # truncated, or a syntax unknown to GDCM: enough is known to find its series
        raw = file.read_bytes()
        modality = MODALITIES.get(_raw_value(raw, b"\x02\x00\x02\x00"))
        problem = f"{file.name}: {undecoded(raw, error)}"
        return Slice(file, _raw_value(raw, b"\x20\x00\x0e\x00"), "", modality, problem=problem) if modality else None
    tags = reader.GetMetaDataDictionary()
    known = {name: tags[tag].strip("\0 ") for name, tag in TAGS.items() if tags.HasKey(tag)}
    kind = known.get("class", "")
    if kind not in MODALITIES:
        return None
    frames = (*_numbers(known, "frames"), 1)[0]
    multi = frames > 1 or kind.removeprefix(STORAGE) in MULTI_FRAME
    size, problem = reader.GetNumberOfComponents(), ""
    place, spacing = (_numbers(known, *keys) for keys in (("position", "orientation"), ("spacing",)))
    if multi:
        problem = f"{file.name}: a multi-frame image of {frames:g} frames: convert it, for example with dcm2niix"
    elif size != 1:
        problem = f"{file.name}: {size} numbers a voxel, not one: export it as a scalar image"
    elif len(place) != 9 or len(spacing) != 2 or min(spacing) <= 0 or not _are_perpendicular(place[3:]):
        problem = f"{file.name}: no valid position, orientation and pixel spacing in its header: export it again"
    elif not known.get("series"):  # all such series would have one id
        problem = f"{file.name}: no SeriesInstanceUID in its header: export it again"
    return Slice(
        *(file, known.get("series", ""), known.get("patient", ""), MODALITIES[kind]),
        localizer="LOCALIZER" in known.get("type", "").split("\\"),
        problem=problem,
        shape=(reader.GetDimensions(0), reader.GetDimensions(1)),
        place=place,
        spacing=spacing,
        whole=_whole_type(reader),
    )


def _numbers(known: dict[str, str], *keys: str) -> tuple[float, ...]:
    """Return the numbers of several tags, none where one is not a list of finite numbers."""
    try:
        numbers = tuple(float(text) for key in keys for text in known.get(key, "").split("\\"))
    except ValueError:
        return ()
    return numbers if np.isfinite(numbers).all() else ()


def _are_perpendicular(cosines: tuple[float, ...]) -> bool:
    row_column = np.reshape(cosines, (2, 3))
    return bool(np.abs(row_column @ row_column.T - np.eye(2)).max() < PERPENDICULAR)


def _whole_type(reader: Any) -> str:
    name = reader.GetComponentTypeAsString(reader.GetComponentType())
    return "" if name in ("float", "double") else name


def _raw_value(raw: bytes, tag: bytes) -> str:
    """Return the UID of a tag (little endian) without parsing what is before it; a tag is followed by four bytes."""
    found = re.search(re.escape(tag) + rb".{4}([0-9.]+)", raw, re.DOTALL)
    return found[1].decode() if found else ""


def undecoded(raw: bytes, error: Exception) -> str:
    """Return why GDCM could not decode a file of these bytes, on one line."""
    syntax = _raw_value(raw, b"\x02\x00\x10\x00") or "none"
    reason = one_line(Exception(str(error).rpartition("):")[2] or error))
    return f"truncated, or compressed as GDCM cannot read (transfer syntax {syntax}; {reason}): fetch or decompress it"
