# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip

import numpy as np
import pytest
from scan_formats import write_nifti

from universal_model_components.imaging.nibabel_files import read_header, read_voxels

VOXELS, AFFINE = np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.diag([2.0, 1.0, 3.0, 1.0])


def test_an_uncompressed_file_is_mapped_and_a_compressed_one_read_to_its_checksum(tmp_path):
    plain, packed = (write_nifti(tmp_path / f"x{suffix}", VOXELS, AFFINE) for suffix in (".nii", ".nii.gz"))
    assert isinstance(read_voxels(plain), np.memmap)
    np.testing.assert_array_equal(read_voxels(packed), VOXELS)
    packed.write_bytes(packed.read_bytes()[:-8] + bytes(8))
    assert read_header(packed).shape == VOXELS.shape
    with pytest.raises(gzip.BadGzipFile, match="CRC check failed"):
        read_voxels(packed)


def test_the_header_of_a_file_of_five_axes(tmp_path):
    header = read_header(write_nifti(tmp_path / "x.nii", VOXELS[..., None, None], AFFINE))
    assert (header.shape, header.kind, header.scalar, header.notes) == (VOXELS.shape, "int16", True, [])
    np.testing.assert_array_equal(header.affine, AFFINE)
