# SPDX-License-Identifier: Apache-2.0
"""DICOM files written byte by byte: no library that reads them, nor its idea of geometry, is involved."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

EXPLICIT, JPEG_2000 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
CLASSES = {name: f"1.2.840.10008.5.1.4.1.1.{end}" for name, end in (("ct", 2), ("mri", 4), ("pet", 128), ("sr", 88.11))}
ROOT = "1.2.826.0.1.3680043.9.1."
PIXELS = 0x7FE00010


def write_file(file: Path, tags: Mapping[int, str | int | bytes], syntax: str = EXPLICIT) -> Path:
    """Write a DICOM file: numbers are US, bytes OW, texts of the value representation that `_kind` gives."""
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {0x00020002: tags[0x00080016], 0x00020003: tags[0x00080018], 0x00020010: syntax}
    meta = b"".join(_element(tag, value, syntax) for tag, value in sorted(about.items()))
    body = b"".join(_element(tag, value, syntax) for tag, value in sorted(tags.items()) if value != "")
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    file.write_bytes(bytes(128) + b"DICM" + length + meta + body)
    return file


def _kind(tag: int) -> bytes:
    group = {0x0008: b"CS", 0x0010: b"LO", 0x0018: b"DS", 0x0020: b"DS", 0x0028: b"DS", 0x0002: b"UI"}[tag >> 16]
    uids, others = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E), {0x00280004: b"CS", 0x00280008: b"IS"}
    return b"UI" if tag in uids else others.get(tag, group)


def _element(tag: int, value: str | int | bytes, syntax: str) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if isinstance(value, int):
        return head + struct.pack("<2sHH", b"US", 2, value)
    if isinstance(value, str):
        text = value.encode() + (b"\0" if _kind(tag) == b"UI" else b" ") * (len(value) % 2)
        return head + struct.pack("<2sH", _kind(tag), len(text)) + text
    if syntax == EXPLICIT:
        return head + struct.pack("<2sHI", b"OW", 0, len(value)) + value
    item, end = (struct.pack("<HHI", 0xFFFE, number, 0) for number in (0xE000, 0xE0DD))  # an empty table of offsets
    one = struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
    return head + struct.pack("<2sHI", b"OB", 0, 0xFFFFFFFF) + item + one + end


def write_series(
    folder: Path,
    voxels: np.ndarray,
    origin: Sequence[float] = (0, 0, 0),
    rows: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: Sequence[float] = (1, 1),
    step: Sequence[float] = (0, 0, 1),
    modality: str = "ct",
    uid: str = "1",
    patient: str = "DOE-1234",
    slope: float = 1,
    intercept: float = -1024,
    name: str = "{:03d}.dcm",
    syntax: str = EXPLICIT,
    **tags: str | int,
) -> list[Path]:
    """Write a series of int16 slices, voxel = slope × stored + intercept, named against their order in space.

    Args:
        folder: to write to.
        voxels: (columns, rows, slices).
        origin: of voxel (0, 0, 0): mm, LPS.
        rows: ImageOrientationPatient: the direction along a row, then down a column.
        spacing: between columns, and between rows (the reverse of DICOM's order), mm.
        step: from one slice to the next, mm.
        modality, uid, patient: of the header.
        slope, intercept: of the header.
        name: of a file, by its place from the end.
        syntax: another one makes the pixels an encapsulated item, which they are not.
        tags: further ones, such as t00080008="LOCALIZER"; empty ones are left out.
    """
    files = []
    for k in range(voxels.shape[2]):
        stored = np.rint((voxels[..., k] - intercept) / slope).astype("<i2")
        place = "\\".join(f"{x:.10g}" for x in np.add(origin, np.multiply(step, k)))
        content: dict[int, str | int | bytes] = {
            0x00080008: "ORIGINAL\\PRIMARY",
            0x00080016: CLASSES[modality],
            0x00080018: f"{ROOT}{uid}.{k + 1}",
            0x00100020: patient,
            0x0020000D: ROOT + "0",
            0x0020000E: ROOT + uid,
            0x00200032: place,
            0x00200037: "\\".join(f"{x:.10g}" for x in rows),
            0x00280002: 1,
            0x00280004: "MONOCHROME2",
            0x00280010: voxels.shape[1],
            0x00280011: voxels.shape[0],
            0x00280030: f"{spacing[1]:g}\\{spacing[0]:g}",
            0x00280100: 16,
            0x00280101: 16,
            0x00280102: 15,
            0x00280103: 1,
            0x00281052: f"{intercept:g}",
            0x00281053: f"{slope:.10g}",
            PIXELS: stored.T.tobytes(),
            **{int(tag[1:], 16): value for tag, value in tags.items()},
        }
        files.append(write_file(folder / name.format(voxels.shape[2] - k), content, syntax))
    return files
