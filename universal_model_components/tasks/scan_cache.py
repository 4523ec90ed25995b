# SPDX-License-Identifier: Apache-2.0
"""Normalized scans on disk: a scan is read and resampled once, then only the cubes that training needs are read.

One HDF5 file per scan (`imaging.hdf5`), in chunks of 32×32×32 voxels. The whole scan is kept, not its cubes: LUNA16's
551,065 cubes of 64×64×32 overlap so much that they would take twice the space of the 888 scans, and would have to be
made again for another `patch_size`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm.auto import tqdm

from ..imaging.errors import ScanError, problem_of
from ..imaging.hdf5 import DAMAGED, case_file, dequantize, encode, quantize
from ..imaging.normalization import load_scan
from ..imaging.reading import read_grid
from ..imaging.scan_files import parts_of
from ..imaging.unusable import Unusable, refusal
from ..utils.files import write_atomically
from ..utils.parallel import run_parallel
from ..utils.settings import to_bool, to_optional
from .candidates import check_inside, cut_cube, nearest_voxels

logger = logging.getLogger(__name__)

CHUNK = 32  # voxels: a cube of 64×64×32 touches 18 chunks of some 40 KB


class ScanCache:
    """The normalized scans of a datalist's entries.

    Args:
        folder: where the files are kept; created when needed.
        intensity_range: window to clip to (HU for CT), or None for the volume's own range.
        intensity_scale: "range", "volume" or "percentiles", see `normalization.normalize`.
        spacing: mm, or None to keep each scan's native spacing.
        foreground_crop: crop to the body first (MRI).
    """

    def __init__(
        self,
        folder: str,
        intensity_range: Sequence[float] | None = None,
        intensity_scale: str = "volume",
        spacing: Sequence[float] | None = (1.0, 1.0, 1.0),
        foreground_crop: bool | str = False,
    ) -> None:
        window, sides = to_optional(intensity_range), to_optional(spacing)
        self.folder = folder
        self.settings: dict[str, Any] = {
            "window": None if window is None else [float(limit) for limit in window],
            "scale": intensity_scale,
            "spacing": None if sides is None else [float(side) for side in sides],
            "foreground": to_bool(foreground_crop, "foreground_crop"),
        }

    def prepare(self, entries: Sequence[Mapping[str, Any]], num_workers: int = 0) -> None:
        """Check every scan's candidates against its header, then normalize the scans that are not in the cache yet.

        Args:
            entries: of a datalist; keys image (path), case and, for LNC, candidates.
            num_workers: processes; each holds some 0.5 GB for a chest CT.

        Raises:
            ValueError: when candidates lie outside a scan, or a scan cannot be used; one line, before any training.
            OSError: when the cache cannot be written.
        """
        if unusable := self.try_to_prepare(entries, num_workers):
            raise refusal(unusable, len(entries))

    def try_to_prepare(self, entries: Sequence[Mapping[str, Any]], num_workers: int = 0) -> list[Unusable]:
        """Prepare the scans as `prepare` does, and return those that cannot be used, in the order of the entries.

        Raises:
            OSError: when the cache cannot be written.
        """
        reasons = {entry["case"]: problem for entry in entries if (problem := _outside(entry))}
        calls = [
            ({"file": entry["image"], "case": entry["case"]}, str(case_file(self.folder, entry["case"])), self.settings)
            for entry in entries
            if entry["case"] not in reasons
        ]
        left = [call for call in calls if not _is_stored(*call)]
        if left:
            for result in tqdm(run_parallel(_prepare_scan, left, int(num_workers)), "scans", len(left), unit="scan"):
                reasons |= {result["case"]: result["problem"]} if result["problem"] else {}
                for note in result["notes"]:
                    logger.warning(note)
        return [Unusable(entry["case"], reasons[entry["case"]]) for entry in entries if entry["case"] in reasons]

    def cube(self, entry: Mapping[str, Any], position: Sequence[float] | None, shape: Sequence[int]) -> np.ndarray:
        """Read one cube.

        Args:
            entry: whose scan has been prepared.
            position: mm, LPS; None is the middle of the scan.
            shape: voxels.

        Shape:
            → `shape`, float32 in [0, 1].

        Raises:
            OSError: when the scan's file is missing, damaged, of another case or of another run's settings; the message
                names it.
        """
        file = case_file(self.folder, entry["case"])
        try:
            with h5py.File(file, "r", locking=False) as stored:
                volume, holder = stored["volume"], str(stored.attrs.get("case", entry["case"]))
                foreign = json.loads(stored.attrs["identity"])[0] != self.settings
                if position is None:
                    center = middle(volume.shape)
                else:
                    center = nearest_voxels([position], stored.attrs["affine"], volume.shape)[0].tolist()
                cube = cut_cube(volume, center, shape)
        except DAMAGED as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OSError(f"{file}: unreadable ({reason}): delete it, and training makes it again") from error
        if holder != entry["case"]:
            raise OSError(f"{file}: holds the scan of case {holder!r}: delete it, and training makes it again")
        if foreign:
            raise OSError(f"{file}: made again by a run with other settings meanwhile: give each run its own cache_dir")
        return dequantize(cube)


def middle(shape: Sequence[int]) -> list[int]:
    """Return the middle voxel, on which a cube of the whole scan is centered."""
    return [side // 2 for side in shape]


def _identity(file: str, settings: Mapping[str, Any]) -> str:
    """Identify what a cached scan was made from: its files (MetaImage and DICOM have several), and the settings."""
    try:
        parts = [(part.name, part.stat()) for part in parts_of(file)]
    except (OSError, ScanError):  # reading it will say what is wrong
        parts = []
    return json.dumps([settings, [[name, facts.st_size, facts.st_mtime_ns] for name, facts in parts]])


def _is_stored(case: Mapping[str, Any], target: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a file holds that case's scan as it is now, with these settings."""
    try:
        with h5py.File(target, "r", locking=False) as stored:
            same = stored.attrs.get("case", case["case"]) == case["case"]  # files of earlier versions do not say
            return same and stored.attrs["identity"] == _identity(case["file"], settings)
    except DAMAGED:
        return False


def _outside(entry: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the candidates of an entry, by the header of its scan, if there are any."""
    try:
        if "candidates" in entry:
            shape, affine = read_grid(entry["image"])
            check_inside(entry, affine, shape)
    except ValueError as error:
        return str(error)
    return None


def _prepare_scan(case: Mapping[str, Any], target: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Normalize one scan into its file; a scan that cannot be used is the result's `problem`."""
    try:
        identity = _identity(case["file"], settings)  # before reading, in case the scan changes meanwhile
        scan = load_scan(case["file"], **settings)
    except (ScanError, RuntimeError, MemoryError) as error:
        return {"case": case["case"], "problem": problem_of(case["file"], error), "notes": []}
    chunks = [min(CHUNK, side) for side in scan.volume.shape]
    attributes = {"case": case["case"], "affine": scan.affine, "identity": identity}
    content = encode("volume", quantize(scan.volume), chunks, attributes)
    write_atomically(Path(target), lambda path: path.write_bytes(content))
    return {"case": case["case"], "problem": None, "notes": scan.notes}
