# SPDX-License-Identifier: Apache-2.0
"""Headers and voxels of MetaImage and NRRD files, and of any other that ITK reads, by ITK.

Its reader is named by the file's suffix, in capitals too. ITK's Python has no images of int8 and int64: they are read
as a wider type and converted back. ITK ignores checksums and the early end of compressed voxels; they are checked here.
"""

from __future__ import annotations

import re
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import itk
import numpy as np

from .headers import Header, without_trailing_ones
from .scan_files import parts_of, suffix_of

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
COMPRESSED_SIZE = re.compile(rb"^CompressedDataSize\s*=\s*(\d+)", re.MULTILINE)
SKIPPED = re.compile(rb"^(?:HeaderSize\s*=|line skip:)\s*-?[1-9]", re.MULTILINE | re.IGNORECASE)
HEADER = 1 << 16  # bytes: longer than a header
BLOCK = 1 << 20
GZIP = b"\x1f\x8b"  # how a member begins


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
    header = _open(file)
    _check_compressed(file, header.GetImageSizeInBytes())
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


def _check_compressed(file: str | Path, needed: int) -> None:
    """Decompress the voxels of a MetaImage or NRRD once, where they are compressed.

    Args:
        file: the header.
        needed: bytes that the voxels have.
    """
    with open(file, "rb") as stream:
        head = stream.read(HEADER)
        if suffix_of(file) not in IMAGE_IO or not COMPRESSED.search(head) or SKIPPED.search(head):
            return
        parts, size = parts_of(file)[1:], COMPRESSED_SIZE.search(head)
        if not parts:
            if b"ElementDataFile" in head and not size:  # ITK would start anywhere
                raise ValueError("CompressedData without CompressedDataSize")
            stream.seek(_end_of_header(head))
            inflated = _inflate(stream, int(size[1]) if size else None)
    for number, part in enumerate(parts):
        with open(part, "rb") as stream:
            inflated = _inflate(stream) + (inflated if number else 0)
    if inflated < needed:
        raise EOFError(f"{inflated} bytes of voxels, expected {needed}")


def _end_of_header(head: bytes) -> int:
    """Return where the voxels start: after MetaImage's last line, or NRRD's empty line."""
    end = re.search(rb"^ElementDataFile.*\n|\r?\n\r?\n", head, re.MULTILINE)
    return end.end() if end else len(head)


def _inflate(stream: BinaryIO, size: int | None = None) -> int:
    """Decompress a zlib stream, or gzip's members, of at most `size` bytes, and return how many bytes they hold."""
    inflater, left, count, rest = zlib.decompressobj(wbits=47), sys.maxsize if size is None else size, 0, b""
    while block := rest or stream.read(min(BLOCK, left)):
        left -= 0 if rest else len(block)
        if inflater.eof:
            if not GZIP.startswith(block[:2]):  # padding
                break
            inflater = zlib.decompressobj(wbits=47)
        count += len(inflater.decompress(block, 16 * BLOCK))
        rest = inflater.unconsumed_tail or inflater.unused_data
    count += len(inflater.flush())
    if not inflater.eof:
        raise EOFError("the compressed voxels end early")
    return count
