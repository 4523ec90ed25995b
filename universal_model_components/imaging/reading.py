# SPDX-License-Identifier: Apache-2.0
"""Read and check scans: NIfTI, MetaImage and NRRD by MONAI's readers, DICOM series, with one error type for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
from monai.data import ITKReader, NibabelReader

from .dicom import read_series, series_grid
from .dicom_header import is_dicom
from .errors import ScanError, one_line
from .geometry import check_affine, spacing_of
from .scan_files import NIFTI


def read_scan(file: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI, MetaImage or NRRD file, or a DICOM series, and check that it is a 3D scalar volume.

    Returns:
        The voxels as stored (any real type) and the affine in mm, RAS.

    Raises:
        ScanError: missing, unreadable or truncated file, other than three axes, singular affine.
    """
    if is_dicom(file):
        return read_series(file)
    if not Path(file).is_file():
        raise ScanError(f"{file}: no such file: correct the datalist or fetch the scan")
    is_nifti = str(file).lower().endswith(NIFTI)
    reader = NibabelReader() if is_nifti else ITKReader()
    try:
        voxels, meta = reader.get_data(reader.read(str(file)))
        # MONAI corrects a NIfTI whose matrix and pixdim disagree; a matrix that is not an orientation must not pass.
        stored = np.asarray(nibabel.load(file).affine if is_nifti else meta["affine"])  # type: ignore[attr-defined]
    except Exception as error:  # the readers raise any of their libraries' errors
        raise ScanError(f"{file}: unreadable or truncated ({one_line(error)}): fetch or export it again") from error
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3 or min(voxels.shape) < 2:
        kind = "2D" if voxels.ndim < 3 or min(voxels.shape) < 2 else f"{voxels.ndim}D"
        raise ScanError(f"{file}: {kind} image of shape {voxels.shape}, not one 3D volume: split or remove it")
    if voxels.dtype.kind not in "biuf":
        raise ScanError(f"{file}: voxels of type {voxels.dtype}, not one number each: convert it to a scalar image")
    affine = np.asarray(meta["affine"], dtype=np.float64)
    for matrix in (stored, affine):
        check_affine(file, matrix)
    return voxels, affine


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
        ScanError: when there is no header to read, or it is not that of a 3D volume, or its affine is singular.
    """
    if is_dicom(file):
        return series_grid(file)
    try:
        if str(file).lower().endswith(NIFTI):
            header: Any = nibabel.load(file)
            shape, affine = tuple(header.shape), np.asarray(header.affine)
        else:
            header = itk.ImageIOFactory.CreateImageIO(str(file), itk.CommonEnums.IOFileMode_ReadMode)
            header.SetFileName(str(file))
            header.ReadImageInformation()
            axes = range(header.GetNumberOfDimensions())
            shape, affine = tuple(header.GetDimensions(axis) for axis in axes), np.eye(4)
            for axis in range(min(3, len(shape))):
                direction = np.multiply(header.GetDirection(axis)[:3], (-1, -1, 1)[: len(shape)][:3])
                affine[: len(direction), axis] = direction * header.GetSpacing(axis)
                affine[axis, 3] = (-1, -1, 1)[axis] * header.GetOrigin(axis)
    except Exception as error:  # see read_scan
        raise ScanError(f"{file}: no readable header ({one_line(error)}): fetch or export it again") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(f"{file}: image of shape {shape}, not one 3D volume: split or remove it")
    check_affine(file, affine)
    return shape, affine
