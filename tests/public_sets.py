# SPDX-License-Identifier: Apache-2.0
"""Miniatures of the paper's six data sets, with the folders, file names, headers and labels that their owners ship.

Each `write_<set>` fills a folder and returns it (or what the test needs to know of it). Sizes are small by default; the
voxels are drawn by `scan_files.body`, with another seed for each file, so that no two scans are alike.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scan_files import body, write_scan

SHAPE = (24, 20, 16)  # voxels along the file's axes
SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.{:030d}"
MARK = 900  # HU of the candidates' centers in the miniature LUNA16: far above everything else there
# Matrices as they occur in LUNA16's headers; MetaImage stores the direction of one axis after the other.
UPRIGHT = (1, 0, 0, 0, 1, 0, 0, 0, 1)
TURNED = (-1, 0, 0, 0, -1, 0, 0, 0, 1)  # a prone patient: x and y run the other way
MMWHS_LABELS = (205, 420, 500, 550, 600, 820, 850)
LEFT_ATRIUM = 420


def write_metaimage(
    file: Path,
    voxels: np.ndarray,
    spacing: Sequence[float],
    offset: Sequence[float],
    matrix: Sequence[float] = UPRIGHT,
) -> Path:
    """Write `file` (.mhd) and its .raw as LUNA16 has them: int16, x fastest; offset and matrix are in LPS mm."""
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": " ".join(f"{value:g}" for value in matrix),
        "Offset": " ".join(str(value) for value in offset),
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(str(value) for value in spacing),
        "DimSize": " ".join(str(side) for side in voxels.shape),
        "ElementType": "MET_SHORT",
        "ElementDataFile": file.with_suffix(".raw").name,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{key} = {value}\n" for key, value in header.items()))
    file.with_suffix(".raw").write_bytes(voxels.astype("<i2").tobytes(order="F"))
    return file


def world(
    index: Sequence[float], spacing: Sequence[float], offset: Sequence[float], matrix: Sequence[float]
) -> list[float]:
    """Return the LPS coordinate (mm) of a voxel: offset + sum over axes of index × spacing × direction."""
    directions = np.reshape(matrix, (3, 3))  # row i is the direction of axis i
    return [float(value) for value in np.asarray(offset) + (np.multiply(index, spacing)) @ directions]


@dataclass(frozen=True)
class LunaScan:
    """One scan of the miniature LUNA16.

    Args:
        seriesuid: name of its files.
        fold: 0 to 9.
        file: the header.
        positive: voxel (file order) of the center of the marked 3×3×3 block, the scan's positive candidate.
        negatives: voxels of its negative candidates.
        spacing: mm.
        offset: LPS mm.
        matrix: of the header.
    """

    seriesuid: str
    fold: int
    file: Path
    positive: tuple[int, int, int]
    negatives: list[tuple[int, int, int]]
    spacing: tuple[float, float, float]
    offset: tuple[float, float, float]
    matrix: tuple[int, ...]

    @property
    def candidates(self) -> list[list[float]]:
        """Rows x, y, z, class as in the CSV, the positive one first."""
        place = (self.spacing, self.offset, self.matrix)
        rows = [[*world(self.positive, *place), 1]]
        return rows + [[*world(index, *place), 0] for index in self.negatives]


def write_luna2016(
    folder: Path,
    folds: Sequence[int] = range(10),
    scans_per_fold: int | Sequence[int] = 1,
    shape: Sequence[int] = SHAPE,
) -> list[LunaScan]:
    """Write `subset0` to `subset9`, the three CSVs of candidates and annotations; every other scan is turned."""
    scans = []
    for place, fold in enumerate(folds):
        for number in range(scans_per_fold if isinstance(scans_per_fold, int) else scans_per_fold[place]):
            identity = 100 * fold + number
            uid, matrix = SERIES.format(identity), (UPRIGHT, TURNED)[(fold + number) % 2]
            rng = np.random.default_rng([7, identity])
            voxels = body(tuple(shape), seed=identity)
            positive, *negatives = (tuple(int(n) for n in rng.integers(4, np.subtract(shape, 4))) for _ in range(4))
            x, y, z = positive
            voxels[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = MARK
            spacing = (1.7617189884185791, 1.7617189884185791, 2.5)
            offset = (-19.5 if matrix is UPRIGHT else 21.25, -18.0 if matrix is UPRIGHT else 17.5, -378.0 + fold)
            file = write_metaimage(folder / f"subset{fold}" / f"{uid}.mhd", voxels, spacing, offset, matrix)
            scans.append(LunaScan(uid, fold, file, positive, negatives, spacing, offset, matrix))
    rows = [[scan.seriesuid, *row] for scan in scans for row in scan.candidates]
    columns = ["seriesuid", "coordX", "coordY", "coordZ"]
    write_table(folder / "candidates.csv", [*columns, "class"], rows)
    write_table(folder / "candidates_V2.csv", [*columns, "class"], [*rows, *rows[1::4]])  # a longer list
    write_table(folder / "annotations.csv", [*columns, "diameter_mm"], [[*row[:4], 6.5] for row in rows if row[4]])
    return scans


def write_table(file: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a CSV."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return file


def blocks(shape: Sequence[int], values: Sequence[int], dtype: type = np.int16) -> np.ndarray:
    """A mask in which each value has a slab of its own in the middle of a zero background."""
    mask = np.zeros(shape, dtype)
    edges = np.linspace(4, shape[0] - 4, len(values) + 1).astype(int)
    for value, low, high in zip(values, edges, edges[1:], strict=False):
        mask[low:high, 5:-5, 4:-4] = value
    return mask


def write_lits2017(folder: Path, numbers: Sequence[int] = range(131), shape: Sequence[int] = SHAPE) -> Path:
    """Write `volume-N.nii` and `segmentation-N.nii` (0, 1 liver, 2 tumor), in the two batches of the download."""
    for n in numbers:
        batch = folder / ("Training Batch 1" if n < 28 else "Training Batch 2")
        affine = np.diag([-1.5, 1.5, 2.0, 1.0]) if n % 2 else np.diag([1.5, 1.5, 2.0, 1.0])
        write_scan(batch / f"volume-{n}.nii", body(tuple(shape), seed=1000 + n), affine)
        write_scan(batch / f"segmentation-{n}.nii", blocks(shape, [1, 2], np.uint8), affine)
    return folder


def write_brats2018(folder: Path, hgg: int = 4, lgg: int = 2, shape: Sequence[int] = SHAPE) -> Path:
    """Write `HGG/Brats18_…/Brats18_…_{flair,t1,t1ce,t2,seg}.nii.gz`, `LGG/…` and survival_data.csv."""
    affine = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239], [0, 0, 1.0, 0], [0, 0, 0, 1]])  # LPS, as the release is
    for grade, count in (("HGG", hgg), ("LGG", lgg)):
        for n in range(count):
            patient = f"Brats18_{'CBICA' if grade == 'HGG' else 'TCIA10'}_{n:03d}_1"
            for i, contrast in enumerate(("flair", "t1", "t1ce", "t2")):
                seed = 10000 + 10 * n + i + 5000 * (grade == "LGG")
                voxels = body(tuple(shape), "mri", seed).astype(np.int16)
                write_scan(folder / grade / patient / f"{patient}_{contrast}.nii.gz", voxels, affine)
            write_scan(folder / grade / patient / f"{patient}_seg.nii.gz", blocks(shape, [1, 2, 4], np.uint8), affine)
    write_table(folder / "survival_data.csv", ["Brats18ID", "Age", "Survival", "ResectionStatus"], [])
    return folder


def write_msd_heart(folder: Path, training: int = 20, test: int = 10, shape: Sequence[int] = SHAPE) -> Path:
    """Write `imagesTr/la_NNN.nii.gz`, `labelsTr`, `imagesTs`, and the `._` files of the archive."""
    affine = np.diag([1.25, 1.25, 1.37, 1.0])
    for n in range(training + test):
        part = "Tr" if n < training else "Ts"
        voxels = body(tuple(shape), "mri", 20000 + n)
        write_scan(folder / f"images{part}" / f"la_{n:03d}.nii.gz", voxels, affine)
        (folder / f"images{part}" / f"._la_{n:03d}.nii.gz").write_bytes(b"\x00\x05\x16\x07")
        if part == "Tr":
            write_scan(folder / "labelsTr" / f"la_{n:03d}.nii.gz", blocks(shape, [1], np.uint8), affine)
    return folder


def write_mmwhs(folder: Path, ct: int = 20, mr: int = 20, stray: bool = True, shape: Sequence[int] = SHAPE) -> Path:
    """Write `ct_train/ct_train_1001_{image,label}.nii.gz` and `mr_train/…`; one MR label holds a stray 421."""
    affine = np.diag([-1.2, -1.2, 1.6, 1.0])
    for kind, count, modality in (("ct", ct, "ct"), ("mr", mr, "mri")):
        for n in range(1001, 1001 + count):
            name = folder / f"{kind}_train" / f"{kind}_train_{n}"
            voxels = body(tuple(shape), modality, 30000 + n + 500 * (kind == "mr"))
            mask = blocks(shape, MMWHS_LABELS)
            if stray and (kind, n) == ("mr", 1010):
                mask[mask == LEFT_ATRIUM] = np.where(np.arange(np.sum(mask == LEFT_ATRIUM)), LEFT_ATRIUM, 421)
            write_scan(name.with_name(f"{name.name}_image.nii.gz"), voxels, affine)
            write_scan(name.with_name(f"{name.name}_label.nii.gz"), mask, affine)
    return folder


def adni_file(subject: str, image_id: int, day: str = "2006-04-18") -> str:
    """The path of a scan as the archive's download unpacks it."""
    kind = "MPR__GradWarp__B1_Correction__N3__Scaled"
    name = f"ADNI_{subject}_MR_{kind}_Br_20070216232854688_S13408_I{image_id}.nii"
    return f"ADNI/{subject}/{kind}/{day}_08_20_30.0/S13408/{name}"


def write_adni(folder: Path, ad: int = 47, nc: int = 56, mci: int = 2, shape: Sequence[int] = SHAPE) -> Path:
    """Write scans in the archive's folders and its CSV (`Image Data ID`, `Subject`, `Group`: AD, CN, MCI, …)."""
    columns = ["Image Data ID", "Subject", "Group", "Sex", "Age", "Visit", "Modality", "Description", "Type"]
    rows = []
    for n, group in enumerate(["AD"] * ad + ["CN"] * nc + ["MCI"] * mci):
        subject, identity = f"{n % 9 + 2:03d}_S_{n:04d}", 40000 + n
        write_scan(folder / adni_file(subject, identity), body(tuple(shape), "mri", 40000 + n), 1.8)
        rows.append([f"I{identity}", subject, group, "F", 75, "sc", "MRI", "MPR; GradWarp; N3", "Processed"])
        rows[-1] += ["4/18/2006", "NiFTI", "11/25/2026"]
    write_table(folder / "ADNI1_Screening.csv", [*columns, "Acq Date", "Format", "Downloaded"], rows)
    return folder


def reoriented(file: Path, target: Path, codes: str, dtype: type | None = None) -> Path:
    """Save a NIfTI again with other axes (for example "PSR") and type; the voxels' values and places stay."""
    image = nibabel.load(file)
    wanted = nibabel.orientations.axcodes2ornt(codes)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted)
    turned = image.as_reoriented(turn)
    voxels = np.asanyarray(turned.dataobj)
    target.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels if dtype is None else voxels.astype(dtype), turned.affine), target)
    return target
