# SPDX-License-Identifier: Apache-2.0
"""Small synthetic scans on disk, for the tests of preparation."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np


def body(shape: tuple[int, ...] = (32, 32, 32), modality: str = "ct", seed: int = 0) -> np.ndarray:
    """Draw a noisy ellipsoid in air: in HU for CT, in arbitrary units over Rician noise for MRI."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    radius = np.sqrt(sum((axis / 0.8) ** 2 for axis in axes))
    noise = rng.normal(0, 20, shape)
    if modality == "ct":
        return (np.where(radius < 1, 50 - 300 * (radius < 0.4), -1000) + noise).astype(np.int16)
    signal = np.where(radius < 1, 600 + 300 * (radius < 0.4), 0)
    return np.hypot(signal + noise, rng.normal(0, 20, shape)).astype(np.float32)


def write_scan(file: Path, voxels: np.ndarray, affine: np.ndarray | float = 2.0) -> Path:
    """Write a NIfTI; a number for the affine is the spacing in mm."""
    file.parent.mkdir(parents=True, exist_ok=True)
    matrix = np.diag([affine, affine, affine, 1.0]) if isinstance(affine, (int, float)) else affine
    nibabel.save(nibabel.Nifti1Image(voxels, matrix), file)
    return file


def write_with_rows(file: Path, *rows: Sequence[float]) -> Path:
    """Write a NIfTI whose affine has these three rows, sensible or not."""
    header = nibabel.Nifti1Header()
    header["sform_code"], (header["srow_x"], header["srow_y"], header["srow_z"]) = 1, rows
    nibabel.save(nibabel.Nifti1Image(body(), None, header), file)
    return file


def make_dataset(folder: Path, ct: int = 3, mri: int = 3) -> Path:
    """Fill a folder with scans of both modalities."""
    for modality, count in (("ct", ct), ("mri", mri)):
        for number in range(count):
            write_scan(folder / modality / f"scan_{number}.nii.gz", body(modality=modality, seed=number))
    return folder


def write_datalist(folder: Path, scans: Path) -> Path:
    """List all scans of a folder as training cases, in the order of their names."""
    files = sorted(scans.glob("*/*.nii.gz"))
    entries = [{"image": str(file.relative_to(scans)), "modality": file.parent.name} for file in files]
    (folder / "list.json").write_text(json.dumps({"root": str(scans), "training": entries, "validation": []}))
    return folder / "list.json"


class Barrier:
    """A pipe in a scan's place: whoever prepares that scan stands still there, however fast or slow the machine is."""

    def __init__(self, file: Path) -> None:
        self.file, self.scan, self.pipe = file, file.read_bytes(), -1
        file.unlink()
        os.mkfifo(file)

    def wait(self, alive: Callable[[], bool]) -> None:
        """Return when a process has opened the pipe, which it then waits to read from, or when nobody is left to."""
        while self.pipe < 0 and alive():
            try:
                self.pipe = os.open(self.file, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads yet
                    raise
                time.sleep(0.01)

    def lift(self) -> None:
        """Put the scan into its place; a reader that still waits gets the same bytes through the pipe."""
        beside = self.file.with_name("beside")
        beside.write_bytes(self.scan)
        os.replace(beside, self.file)
        if self.pipe >= 0:
            os.set_blocking(self.pipe, True)
            try:
                with open(self.pipe, "wb") as stream:
                    stream.write(self.scan)
            except BrokenPipeError:
                pass  # the reader was killed


SMALL = {
    "patch_size": [16, 16, 8],
    "spacing": [2.0, 2.0, 2.0],
    "cubes_per_volume": {"large": 2, "medium": 2, "small": 4},
}  # small = crops of 4 voxels, 8 mm


def write_list(folder, name, modality, count=3, **changes):
    """A set of its own folder: `count` scans to train on, numbered from 0 as public sets are, and one to test on."""
    root = folder / f"{name}_scans"
    for number in range(count + 1):
        write_scan(root / f"volume-{number}.nii", body(modality=modality, seed=number))
    entries = [
        {"image": f"volume-{n}.nii", "modality": modality, "case": f"volume-{n}", "group": f"patient-{n}"}
        for n in range(count + 1)
    ]
    content = {"name": name, "version": 1, "seed": 3, "root": str(root), "training": entries[:-1], "test": entries[-1:]}
    file = folder / f"{name}.json"
    file.write_text(json.dumps({**content, **changes}))
    return str(file)


def write_labeled_scans(folder: Path) -> Path:
    """Write four scans whose mask shows, two to train on and two held out, and return their datalist."""
    random = np.random.default_rng(0)
    lists: dict[str, list] = {"training": [], "validation": []}
    for number in range(4):
        mask = np.zeros((20, 18, 16), np.uint8)
        mask[4:12, 5:11, 3:9] = 1
        entry = {"image": f"image_{number}.nii.gz", "label": f"label_{number}.nii.gz"}
        write_scan(folder / entry["image"], (random.random(mask.shape) + mask).astype(np.float32), 1.0)
        write_scan(folder / entry["label"], mask, 1.0)
        lists["training" if number < 2 else "validation"].append(entry)
    (folder / "datalist.json").write_text(json.dumps(lists))
    return folder / "datalist.json"
