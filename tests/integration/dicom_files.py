# SPDX-License-Identifier: Apache-2.0
"""A NIfTI file as a DICOM series, and a DICOM SEG's mask on that file's voxels. Run by the Deploy environment's Python.

python dicom_files.py series SCAN.nii.gz FOLDER CT|MR
python dicom_files.py mask SEG.dcm SCAN.nii.gz MASK.npy
python dicom_files.py text SR.dcm
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
STORAGE = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}


def slice_positions(affine: np.ndarray, slices: int) -> np.ndarray:
    """Return where the first voxel of each slice lies, mm, LPS, (slices, 3)."""
    return np.stack([(LPS @ affine @ [0, 0, k, 1])[:3] for k in range(slices)])


def write_series(scan: Path, folder: Path, modality: str) -> None:
    """Write a slice a file; columns run along the scan's first axis, rows along its second."""
    image = nibabel.load(scan)
    voxels, affine = np.asarray(image.dataobj), LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = (affine[:3, :3] / spacing).T
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    for k, position in enumerate(slice_positions(image.affine, voxels.shape[2])):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = STORAGE[modality], generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(str(folder / f"{k:04d}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = STORAGE[modality], meta.MediaStorageSOPInstanceUID
        file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = study, series, frame
        file.Modality, file.PatientID, file.PatientName = modality, "test", "Test^Scan"
        file.PatientBirthDate = file.PatientSex = file.AccessionNumber = file.StudyID = ""
        file.StudyDate, file.StudyTime, file.SeriesNumber, file.InstanceNumber = "20200101", "120000", 1, k + 1
        file.StudyDescription = file.SeriesDescription = "part of a public scan"
        file.Manufacturer = file.ReferringPhysicianName = file.PositionReferenceIndicator = ""
        file.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        file.ImageOrientationPatient = [f"{value:.10f}"[:16] for value in (*cosines[0], *cosines[1])]
        file.ImagePositionPatient = [f"{value:.8f}"[:16] for value in position]
        file.PixelSpacing = [f"{spacing[1]:.10f}"[:16], f"{spacing[0]:.10f}"[:16]]
        file.SliceThickness = f"{spacing[2]:.8f}"[:16]
        file.Columns, file.Rows = voxels.shape[:2]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.RescaleIntercept, file.RescaleSlope = 0, 1
        file.PixelData = np.ascontiguousarray(voxels[:, :, k].T.astype("<i2")).tobytes()
        file.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def read_mask(seg: Path, scan: Path) -> np.ndarray:
    """Return the mask on the scan's voxels; each frame goes to the slice that lies where it says it lies."""
    dataset, image = pydicom.dcmread(seg), nibabel.load(scan)
    mask = np.zeros(image.shape, np.uint8)
    positions = slice_positions(image.affine, image.shape[2])
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for pixels, about in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.asarray(about.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        distances = np.linalg.norm(positions - place, axis=1)
        assert distances.min() < 1e-3, f"no slice at {place}"
        mask[:, :, distances.argmin()] = pixels.T
    return mask


if __name__ == "__main__":
    command, source, *rest = sys.argv[1:]
    if command == "series":
        write_series(Path(source), Path(rest[0]), rest[1])
    elif command == "mask":
        np.save(rest[1], read_mask(Path(source), Path(rest[0])))
    else:
        dataset = pydicom.dcmread(source)
        print(dataset.Modality, *(item.TextValue for item in dataset.ContentSequence), sep="\n")
