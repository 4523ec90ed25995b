# SPDX-License-Identifier: Apache-2.0
"""Headers and voxels of MetaImage and NRRD files, and of any other that ITK reads, by ITK.

Its reader is named by the file's suffix, in capitals too. ITK's Python has no images of int8 and int64: they are read
as a wider type and converted back. ITK ignores checksums and the early end of compressed voxels; they are checked here.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import itk
import numpy as np

from .headers import Header, without_trailing_ones
from .scan_files import NAMED_DATA, parts_of, suffix_of

IMAGE_IO = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}
PIXELS = {  # ITK's name of a type → the ITK type to read it as
    "unsigned_char": "UC",
    "unsigned_short": "US",
    "unsigned_int": "UI",
    "unsigned_long": "UL",
    "unsigned_long_long": "ULL",
    "char": "SS",
    "short": "SS",
    "int": "SI",
    "long": "D",
    "long_long": "D",
    "float": "F",
    "double": "D",
}
NARROWED = {"char": np.int8, "long": np.int64, "long_long": np.int64}
COMPRESSED = re.compile(rb"^(?:CompressedData\s*=\s*True|encoding:\s*gz(?:ip)?)\s*$", re.MULTILINE | re.IGNORECASE)
SKIPPED = re.compile(rb"^(?:HeaderSize\s*=|line skip:)\s*-?[1-9]", re.MULTILINE | re.IGNORECASE)
HEADER = 1 << 16  # bytes: longer than a header
BLOCK = 1 << 20


def read_header(file: str | Path) -> Header:
    """Read the header of a file.

    Raises:
        Exception: ITK's, when there is no header to read.
    """
    header = _open(file)
    axes = range(header.GetNumberOfDimensions())
    shape, affine = tuple(header.GetDimensions(axis) for axis in axes), np.eye(4)
    for axis in range(min(3, len(shape))):
        direction = np.multiply(header.GetDirection(axis)[:3], (-1, -1, 1)[: len(shape)][:3])
        affine[: len(direction), axis] = direction * header.GetSpacing(axis)
        affine[axis, 3] = (-1, -1, 1)[axis] * header.GetOrigin(axis)
    kind, values = _component(header), header.GetNumberOfComponents()
    scalar = values == 1 and kind in PIXELS
    if values > 1:
        kind = f"{kind} {header.GetPixelTypeAsString(header.GetPixelType())} of {values}"
    return Header(without_trailing_ones(shape), affine, kind, scalar, [])


def read_voxels(file: str | Path) -> np.ndarray:
    """Read the voxels of a file, axes as in the header.

    Raises:
        Exception: ITK's or zlib's, for a file that is cut, or whose checksum is wrong.
    """
    _check_compressed(file)
    header = _open(file)
    kind = _component(header)
    image_type = itk.Image[getattr(itk, PIXELS[kind]), header.GetNumberOfDimensions()]
    reader = itk.ImageFileReader[image_type].New(FileName=str(file))
    reader.SetImageIO(header)
    reader.Update()
    view = itk.array_view_from_image(reader.GetOutput())
    voxels = np.asarray(memoryview(view)).T  # a plain array that keeps ITK's image alive, which asarray(view) does not
    return voxels.astype(NARROWED[kind], order="K") if kind in NARROWED else voxels


def _open(file: str | Path) -> Any:
    """Return ITK's reader of the file's format, which has read the header."""
    name = IMAGE_IO.get(suffix_of(file))
    if name is None:
        header = itk.ImageIOFactory.CreateImageIO(str(file), itk.CommonEnums.IOFileMode_ReadMode)
    else:
        header = getattr(itk, name).New()
    if header is None:
        raise ValueError("of no known format")
    header.SetFileName(str(file))
    header.ReadImageInformation()
    return header


def _component(header: Any) -> str:
    return str(header.GetComponentTypeAsString(header.GetComponentType()))


def _check_compressed(file: str | Path) -> None:
    """Decompress the voxels of a MetaImage or NRRD once, where they are compressed."""
    with open(file, "rb") as stream:
        head = stream.read(HEADER)
        if suffix_of(file) not in IMAGE_IO or not COMPRESSED.search(head) or SKIPPED.search(head):
            return
        parts = parts_of(file)[1:]
        if not parts:
            place = NAMED_DATA.search(head) if b"ElementDataFile" in head else re.search(rb"\r?\n\r?\n", head)
            stream.seek(place.end() if place else 0)
            if place and b"ElementDataFile" in head:
                stream.readline()
            _inflate(stream)
    for part in parts:
        with open(part, "rb") as stream:
            _inflate(stream)


def _inflate(stream: BinaryIO) -> None:
    inflater = zlib.decompressobj(wbits=47)  # zlib or gzip
    while not inflater.eof and (block := inflater.unconsumed_tail or stream.read(BLOCK)):
        inflater.decompress(block, 16 * BLOCK)
    inflater.flush()
    if not inflater.eof:
        raise EOFError("the compressed voxels end early")
