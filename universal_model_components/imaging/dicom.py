# SPDX-License-Identifier: Apache-2.0
"""DICOM series as scans: found in folders, checked slice by slice, read by GDCM.

A series is named by its folder, or, in a folder that holds several, by the first of its files. The affine comes from
the positions in the slices' headers, and a series whose slices are not an even grid is refused: no reader here
interpolates what is missing. Only CT, MR and PET images are scans; localizers, reports and other objects are left out.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import itk
import numpy as np

from .dicom_header import Slice, is_dicom, read_slice, undecoded
from .errors import ScanError

logger = logging.getLogger(__name__)

EVEN = 0.01  # of the distance between slices: how far one may lie from where an even grid has it
PARALLEL = 1e-3  # largest difference of the direction cosines, and relative one of the pixel spacings, in a series


def find_series(folder: str | Path, files: Iterable[str]) -> Iterator[Path]:
    """Yield the series in a folder, not below it; one line in the log names how much was left out, and why.

    Args:
        folder: to search.
        files: names in it that may be DICOM.
    """
    series, left = _group(Path(folder), files)
    if left:
        what = ", ".join(f"{count} {reason}" for reason, count in sorted(left.items()))
        logger.warning("%s: DICOM files left out: %s", folder, what)
    if len(series) == 1:
        yield Path(folder)
    else:
        yield from sorted(min(part.file for part in slices) for slices in series.values())


def slices_of(path: str | Path) -> list[Slice]:
    """Return the slices of a series, by file name, unchecked.

    Args:
        path: folder with one series, or any file of the series.

    Raises:
        ScanError: when a folder holds no series, or several, or the file is of none.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    series, _ = _group(folder, os.listdir(folder))
    if path.is_dir() and len(series) != 1:
        names = ", ".join(min(part.file.name for part in slices) for slices in series.values())
        advice = f"name a file of one: {names}" if series else "give a folder of CT, MR or PET slices"
        raise ScanError(f"{path}: {len(series) or 'no'} DICOM series in this folder: {advice}")
    for slices in series.values():
        if path.is_dir() or any(part.file.name == path.name for part in slices):
            return slices
    raise ScanError(f"{path}: not a slice of a CT, MR or PET series (localizer, report or single image): remove it")


def origin_of(path: str | Path) -> Slice | None:
    """Return a slice of a series, whose header says whose it is; None for a scan of another format.

    Raises:
        ScanError: as `slices_of`.
    """
    if not is_dicom(path):
        return None
    return (read_slice(Path(path)) if Path(path).is_file() else None) or slices_of(path)[0]


def read_series(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a series: voxels with the slices' slope and intercept applied (HU), and the affine in mm, RAS.

    Shape:
        → (columns, rows, slices) and (4, 4).

    Raises:
        ScanError: as `series_grid`, and when a slice cannot be decoded.
    """
    ordered, affine = _checked(path)
    # GDCM gives each slice the type that its own slope requires: with several, reading as the first would truncate.
    kinds = {part.whole for part in ordered}
    pixel_type = itk.F if len(kinds) > 1 or "" in kinds else None
    try:
        image = itk.imread([str(part.file) for part in ordered], pixel_type, imageio=itk.GDCMImageIO.New())
        voxels = itk.array_from_image(image)
    except Exception as error:  # GDCM's, as ITK passes them on
        raise ScanError(f"{path}: {undecoded(ordered[0].file.read_bytes(), error)}") from error
    return voxels.T, affine


def series_grid(path: str | Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine (mm, RAS) of a series, as `read_series`, from its headers.

    Raises:
        ScanError: when slices are missing, unreadable, unevenly spaced, not parallel or of different shapes, or several
            lie at one place.
    """
    ordered, affine = _checked(path)
    return (*ordered[0].shape, len(ordered)), affine


def _group(folder: Path, files: Iterable[str]) -> tuple[dict[str, list[Slice]], Counter[str]]:
    """Return the slices of each series, by name, and how many files were left out for which reason."""
    series: dict[str, list[Slice]] = {}
    left: Counter[str] = Counter()
    for name in sorted(files):
        if name.startswith(".") or name == "DICOMDIR" or not (folder / name).is_file() or not is_dicom(folder / name):
            continue
        image = read_slice(folder / name)
        if image is None or image.localizer:
            left["localizer" if image else "no CT, MR or PET image"] += 1
        else:
            series.setdefault(image.series, []).append(image)
    single = [uid for uid, slices in series.items() if len(slices) == 1 and not slices[0].problem]
    left.update({"of a series of one image": len(single)} if single else {})
    return {uid: slices for uid, slices in series.items() if uid not in single}, left


def _checked(path: str | Path) -> tuple[list[Slice], np.ndarray]:
    """Return the slices of a series in the order of their positions, and their affine."""
    slices = slices_of(path)
    broken = [part.problem for part in slices if part.problem]
    if broken:
        raise ScanError(f"{path}: {broken[0]}")
    first = slices[0]
    for what, values, limit in (
        ("shapes", [part.shape for part in slices], 0),
        ("orientations", [part.place[3:] for part in slices], PARALLEL),
        ("pixel spacings", [part.spacing for part in slices], PARALLEL * min(first.spacing)),
    ):
        far = np.abs(np.subtract(values, values[0])).max(axis=1).argmax()
        if np.abs(np.subtract(values[far], values[0])).max() > limit:
            found = f"{values[0]} and {values[far]} ({first.file.name}, {slices[far].file.name})"
            raise ScanError(f"{path}: slices of different {what} in one series, {found}: split the series")
    normal = np.cross(first.place[3:6], first.place[6:9])
    normal /= np.linalg.norm(normal)
    ordered = sorted(slices, key=lambda part: float(np.dot(normal, part.place[:3])))
    step = _even_step(path, ordered, normal)
    affine = np.eye(4)
    for axis, direction in enumerate((first.place[3:6], first.place[6:9])):
        affine[:3, axis] = np.multiply(direction, first.spacing[1 - axis])
    affine[:3, 2], affine[:3, 3] = step, ordered[0].place[:3]
    return ordered, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's positions are LPS


def _even_step(path: str | Path, ordered: Sequence[Slice], normal: np.ndarray) -> np.ndarray:
    """Return the vector from one slice to the next, mm, of slices that are an even grid."""
    places = np.array([part.place[:3] for part in ordered])
    along = places @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if gaps.min() <= EVEN * max(usual, 1e-3):
        names = " and ".join(part.file.name for part in ordered[gaps.argmin() :][:2])
        raise ScanError(f"{path}: {names} lie at one place: several volumes (phases, echoes) in one series: split it")
    step = (places[-1] - places[0]) / (len(places) - 1)
    away = np.linalg.norm(places - places[0] - np.arange(len(places))[:, None] * step, axis=1)
    if away.max() > EVEN * np.linalg.norm(step):
        widest = int(np.abs(gaps - usual).argmax())
        where = f"{gaps[widest]:.4g} mm after {ordered[widest].file.name}, {usual:.4g} mm elsewhere"
        raise ScanError(
            f"{path}: slices missing or unevenly spaced ({where}): fetch the missing, or reconstruct evenly"
        )
    return step
