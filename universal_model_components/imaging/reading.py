# SPDX-License-Identifier: Apache-2.0
"""Read and check scans: NIfTI and MGH by nibabel, all else by ITK, DICOM series by its GDCM, with one error type.

It is the only place that chooses a reader, whatever else is installed; MONAI's `LoadImaged` comes here by `ScanReader`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import nibabel
import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from . import itk_files, nibabel_files
from .dicom import read_series, series_grid
from .dicom_header import is_dicom
from .errors import ScanError, one_line
from .geometry import spacing_of
from .headers import Header, check_header, notes_of
from .scan_files import NIBABEL, suffix_of

Found = TypeVar("Found")


def read_scan(file: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a scan and check that it is a 3D scalar volume.

    Args:
        file: of any format in `scan_files.SUFFIXES`, a DICOM series, or another format that ITK reads.

    Returns:
        The voxels (any real type, in this machine's byte order; scaled where the header says so) and the affine in
        mm, RAS.

    Raises:
        ScanError: missing, unreadable or truncated file, other than three axes, voxels that are not one real number
            each, singular affine.
    """
    if is_dicom(file):
        return read_series(file)
    if not Path(file).is_file():
        raise ScanError(f"{file}: no such file: correct the datalist or fetch the scan")
    complaint = "unreadable or truncated"
    header = _call(_library(file).read_header, file, complaint)
    check_header(file, header)
    voxels = _call(_library(file).read_voxels, file, complaint)
    native = voxels.dtype.newbyteorder("=")
    return voxels.reshape(header.shape, order="A").astype(native, order="K", copy=False), header.affine


def read_header(file: str | Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and spacing (mm) of a scan, in RAS order, without reading its voxels.

    Raises:
        ScanError: as `read_grid`.
    """
    shape, affine = read_grid(file)
    order, spacing = nibabel.io_orientation(affine)[:, 0].argsort(), spacing_of(affine)
    return tuple(shape[axis] for axis in order), tuple(spacing[axis] for axis in order)


def read_grid(file: str | Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine (mm, RAS) of a scan, in the file's order of axes, without reading its voxels.

    Raises:
        ScanError: when there is no header to read, or it is not that of a 3D scalar volume, or its affine is singular.
    """
    if is_dicom(file):
        return series_grid(file)
    header = _header(file)
    check_header(file, header)
    return header.shape, header.affine


def header_notes(file: str | Path) -> list[str]:
    """Return one line for each thing in a header that is worth a warning; none when there is no such scan.

    Raises:
        ScanError: when the header of a file cannot be read.
    """
    if is_dicom(file):
        with suppress(ScanError):  # a volume in memory may be called what a folder is
            return notes_of(file, Header(*series_grid(file), kind="", scalar=True, notes=[]))
        return []
    return notes_of(file, _header(file)) if Path(file).is_file() else []


def _header(file: str | Path) -> Header:
    return _call(_library(file).read_header, file, "no readable header")


def _library(file: str | Path) -> Any:
    return nibabel_files if suffix_of(file) in NIBABEL else itk_files


def _call(function: Callable[[str | Path], Found], file: str | Path, complaint: str) -> Found:
    try:
        return function(file)
    except ScanError:
        raise
    except Exception as error:  # the libraries raise any of their own errors
        raise ScanError(f"{file}: {complaint} ({one_line(error)}): fetch or export it again") from error


class ScanReader(ImageReader):
    """What MONAI's `LoadImage` reads with, so that every bundle reads as `read_scan` does: `LoadImaged(reader=…)`.

    Raises:
        ScanError: as `read_scan`; `LoadImage` wraps it, see `errors.scan_error`.
    """

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Return True: a file of another format is an error that names it."""
        return True

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> tuple[str, ...]:
        """Return the names; an error here would make `LoadImage` try its own readers."""
        return tuple(str(file) for file in ensure_tuple(data))

    def get_data(self, img: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
        """Read the voxels and the metadata that MONAI's transforms need."""
        if len(img) != 1:
            raise ScanError(f"{img[0]}: the first of {len(img)} files, expected one 3D volume: name one")
        voxels, affine = read_scan(img[0])
        return voxels, {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(voxels.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),  # MONAI's word for no channel
        }
