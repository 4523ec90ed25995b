# SPDX-License-Identifier: Apache-2.0
"""Small parts of real scans, small enough for a CPU, with the axes that the whole has."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

CT = "pretraining/ct/chest_LIDC-IDRI-0314.nii.gz"  # axes LPS, 1.56×1.56×2 mm
MRI = "pretraining/mri/brain_t1_IXI012-HH-1211-T1_ds.nii.gz"  # axes PSR, 2 mm, oblique


def cut(source: Path, file: Path, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Path:
    """Write the part of a scan that begins at voxel `start`; its affine says where it is."""
    box = tuple(slice(first, first + side) for first, side in zip(start, shape, strict=True))
    part = nibabel.load(source).slicer[box]
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(part.dataobj), part.affine, part.header), file)
    return file


def bright(image: Path, file: Path, share: float = 0.3) -> Path:
    """Write a mask of the brightest share of a scan's voxels: 0 and 1, as MONAI Label writes a segment."""
    scan = nibabel.load(image)
    voxels = np.asarray(scan.dataobj)
    mask = (voxels > np.quantile(voxels, 1 - share)) if share else np.zeros(voxels.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), scan.affine), file)
    return file
