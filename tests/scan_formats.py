# SPDX-License-Identifier: Apache-2.0
"""Scans of all formats, written without the project's code: headers by hand where a library would not write them."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

METAIMAGE = {
    "int8": "MET_CHAR",
    "uint8": "MET_UCHAR",
    "int16": "MET_SHORT",
    "uint16": "MET_USHORT",
    "int32": "MET_INT",
    "uint32": "MET_UINT",
    "int64": "MET_LONG_LONG",
    "uint64": "MET_ULONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}
NRRD = {"int8": "signed char", "uint8": "uchar", "float32": "float", "float64": "double"}
LPS = np.diag([-1.0, -1.0, 1.0])


def write_nifti(
    file: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    codes: Sequence[int] = (1, 1),
    edits: Sequence[tuple[int, str, Sequence[Any]]] = (),
    slope: Sequence[float] | None = None,
) -> Path:
    """Write a NIfTI-1 file of one part.

    Args:
        file: `.nii` or `.nii.gz`.
        voxels: as stored.
        affine: of the sform, and of the qform as far as it can be.
        codes: of the sform and the qform.
        edits: offset in the header, struct format, values; written last.
        slope: and intercept, which the stored voxels are scaled by.
    """
    image = nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    content = bytearray(image.to_bytes())
    if slope is not None:
        edits = [*edits, (112, "<2f", slope)]
    for place, form, values in edits:
        struct.pack_into(form, content, place, *values)
    file.write_bytes(gzip.compress(content, 1) if file.name.lower().endswith(".gz") else content)
    return file


def write_metaimage(
    file: Path, voxels: np.ndarray, affine: np.ndarray, compressed: bool = False, big_endian: bool = False
) -> Path:
    """Write `.mha`, or `.mhd` with `.raw`."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = LPS @ (affine[:3, :3] / spacing)
    data = voxels.astype(voxels.dtype.newbyteorder(">" if big_endian else "<")).tobytes(order="F")
    data = zlib.compress(data) if compressed else data
    inside = file.suffix.lower() == ".mha"
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": big_endian,
        "CompressedData": compressed,
        **({"CompressedDataSize": len(data)} if compressed else {}),
        "TransformMatrix": _numbers(directions.T.ravel()),
        "Offset": _numbers(LPS @ affine[:3, 3]),
        "ElementSpacing": _numbers(spacing),
        "DimSize": _numbers(voxels.shape),
        "ElementType": METAIMAGE[voxels.dtype.name],
        "ElementDataFile": "LOCAL" if inside else f"{file.stem}.raw",
    }
    header = "".join(f"{key} = {value}\n" for key, value in fields.items()).encode()
    file.write_bytes(header + data * inside)
    if not inside:
        file.with_suffix(".raw").write_bytes(data)
    return file


SPACES: Mapping[str, Sequence[int]] = {
    "left-posterior-superior": (-1, -1, 1),
    "LPS": (-1, -1, 1),
    "Left-Posterior-Superior": (-1, -1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "RAS": (1, 1, 1),
    "right-anterior-superior": (1, 1, 1),
}  # the spellings of NRRD, and how each axis of RAS points in them


def write_nrrd(
    file: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    space: str = "left-posterior-superior",
    compressed: bool = False,
    big_endian: bool = False,
    layers: str = "",
) -> Path:
    """Write `.nrrd`, or `.nhdr` with `.raw`; `layers` is the kind of a first axis of several values a voxel."""
    turned = np.diag(SPACES[space]) @ affine[:3]
    directions = [f"({','.join(map(repr, column.tolist()))})" for column in turned.T]
    data = voxels.astype(voxels.dtype.newbyteorder(">" if big_endian else "<")).tobytes(order="F")
    data = gzip.compress(data) if compressed else data
    inside = file.suffix.lower() == ".nrrd"
    lines = [
        "NRRD0004",
        f"type: {NRRD.get(voxels.dtype.name, voxels.dtype.name)}",
        f"dimension: {voxels.ndim}",
        f"space: {space}",
        f"sizes: {_numbers(voxels.shape)}",
        f"space directions: {'none ' if layers else ''}{' '.join(directions[:3])}",
        f"kinds: {layers} domain domain domain",
        f"endian: {'big' if big_endian else 'little'}",
        f"encoding: {'gzip' if compressed else 'raw'}",
        f"space origin: {directions[3]}",
        *([] if inside else [f"data file: {file.stem}.raw"]),
    ]
    file.write_bytes("\n".join(lines).encode() + b"\n\n" + data * inside)
    if not inside:
        file.with_suffix(".raw").write_bytes(data)
    return file


def _numbers(values: Any) -> str:
    return " ".join(repr(value) for value in np.asarray(values).tolist())
