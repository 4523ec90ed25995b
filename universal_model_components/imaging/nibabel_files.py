# SPDX-License-Identifier: Apache-2.0
"""Headers and voxels of NIfTI, in one file or two, and of MGH files, by nibabel.

The place of a NIfTI is the standard's: the sform where its code is above 0, else the qform where its code is, else the
voxel sides alone. Its unit is converted to mm. Compressed files are read to the end, where gzip's checksum is.
"""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.fileholders import FileHolder

from .errors import ScanError
from .geometry import FORM_TOLERANCE, corner_distance
from .headers import Header, without_trailing_ones

UNITS = {1: ("meters", 1000.0), 3: ("microns", 0.001)}  # NIfTI's codes; anything else is mm
BLOCK = 1 << 20  # bytes


def read_header(file: str | Path) -> Header:
    """Read the header of a file.

    Raises:
        ScanError: for an Analyze file, which does not say where left is.
        Exception: nibabel's, when there is no header to read.
    """
    image: Any = nibabel.load(file)
    if not isinstance(image, (nibabel.Nifti1Pair, nibabel.MGHImage)):
        raise ScanError(f"{file}: an Analyze header, which does not say which side is left: convert it to NIfTI")
    affine, notes, kind = np.array(image.affine, dtype=np.float64), [], image.get_data_dtype()
    if isinstance(image, nibabel.Nifti1Pair):
        unit, scale = UNITS.get(int(image.header["xyzt_units"]) % 8, ("mm", 1.0))
        affine[:3] *= scale
        notes = _form_notes(file, image, scale)
        if scale != 1:
            notes.append(f"{file}: the header is in {unit}: converted to mm")
    return Header(without_trailing_ones(image.shape), affine, str(kind), kind.kind in "biuf", notes)


def _form_notes(file: str | Path, image: Any, scale: float) -> list[str]:
    """Return a line when sform and qform disagree, or neither is given."""
    codes = [int(image.header[key]) for key in ("sform_code", "qform_code")]
    if codes == [0, 0]:
        return [f"{file}: the header gives no orientation (sform and qform codes are 0): axes taken as L, A, S"]
    if min(codes) == 0 or len(image.shape) < 3:
        return []
    try:
        apart = corner_distance(image.get_qform(), image.affine, image.shape[:3]) * scale
    except (nibabel.spatialimages.HeaderDataError, ValueError):  # its quaternion is none
        apart = float("inf")
    if apart <= FORM_TOLERANCE:
        return []
    return [f"{file}: sform and qform differ by up to {apart:.3g} mm: the sform is taken"]


def read_voxels(file: str | Path) -> np.ndarray:
    """Read the voxels of a file, scaled by the header's slope and intercept; an uncompressed file is memory-mapped.

    Raises:
        Exception: nibabel's or gzip's, for a file that is cut, or whose checksum is wrong.
    """
    image: Any = nibabel.load(file)
    with ExitStack() as stack:
        files, streams = {}, []
        for name, holder in image.file_map.items():
            files[name] = holder
            if str(holder.filename).lower().endswith((".gz", ".mgz")):
                streams.append(stack.enter_context(gzip.open(holder.filename)))
                files[name] = FileHolder(fileobj=streams[-1])
        voxels = np.asanyarray(type(image).from_file_map(files).dataobj)
        for stream in streams:
            while stream.read(BLOCK):  # the checksum comes after the voxels
                pass
    return voxels
