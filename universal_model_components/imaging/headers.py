# SPDX-License-Identifier: Apache-2.0
"""What the header of a scan says, and what in it is worth a warning."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import ScanError
from .geometry import check_affine, shear_of

SHEAR_TOLERANCE = 0.1  # degrees: 0.5 mm across a chest


class Header(NamedTuple):
    """The header of a scan.

    Args:
        shape: sides in voxels, in the file's order of axes, without trailing axes of length one.
        affine: voxel → mm, RAS.
        kind: type of a voxel, for messages.
        scalar: whether a voxel is one real number.
        notes: one line for each thing in the file's format that is worth a warning.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    kind: str
    scalar: bool
    notes: list[str]


def check_header(file: str | Path, header: Header) -> None:
    """Check that a header is that of one 3D volume of real numbers, in a place.

    Raises:
        ScanError: when it is not; one line.
    """
    shape = header.shape
    if len(shape) != 3 or min(shape) < 2:
        kind = "2D" if len(shape) < 3 or min(shape) < 2 else f"{len(shape)}D"
        raise ScanError(f"{file}: {kind} image of shape {shape}, not one 3D volume: split or remove it")
    if not header.scalar:
        raise ScanError(f"{file}: voxels of type {header.kind}, not one number each: convert it to a scalar image")
    check_affine(file, header.affine)


def notes_of(file: str | Path, header: Header) -> list[str]:
    """Return one line for each thing in a header that is worth a warning: of its format, sheared axes, no place."""
    notes, angle = list(header.notes), shear_of(header.affine)
    if angle > SHEAR_TOLERANCE:
        notes.append(f"{file}: axes are {angle:.1f}° off a right angle (tilted gantry?): kept as they are")
    if np.array_equal(np.abs(header.affine), np.eye(4)):
        notes.append(f"{file}: the affine is the identity, as of a lost header: check orientation and spacing (1 mm)")
    return notes


def without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without axes of length one after the third."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(int(side) for side in shape)
