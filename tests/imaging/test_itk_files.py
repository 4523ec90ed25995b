# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import gzip

import numpy as np
import pytest
from scan_formats import write_metaimage, write_nrrd

from universal_model_components.imaging.itk_files import read_header, read_voxels

VOXELS, AFFINE = np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.diag([2.0, 1.0, 3.0, 1.0])


def test_voxels_outlive_the_image_that_they_were_read_into(tmp_path):
    found = [read_voxels(write_metaimage(tmp_path / f"{n}.mha", VOXELS + n, AFFINE)) for n in range(9)]
    gc.collect()
    for number, voxels in enumerate(found):
        np.testing.assert_array_equal(voxels, VOXELS + number)


def test_int64_keeps_whole_numbers_and_its_type(tmp_path):
    voxels = VOXELS.astype(np.int64) * 10**13 + 1
    found = read_voxels(write_nrrd(tmp_path / "x.nrrd", voxels, AFFINE))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, voxels)


def test_the_layers_of_a_segmentation_are_not_one_number(tmp_path):
    header = read_header(write_nrrd(tmp_path / "x.seg.nrrd", np.stack([VOXELS] * 2), AFFINE, layers="list"))
    assert (header.shape, header.kind, header.scalar) == ((5, 4, 3), "short vector of 2", False)


def test_fewer_compressed_voxels_than_the_header_has_are_an_error(tmp_path):
    file = write_nrrd(tmp_path / "x.nhdr", VOXELS[:4], AFFINE, compressed=True)
    file.write_bytes(file.read_bytes().replace(b"sizes: 4", b"sizes: 5"))
    with pytest.raises(EOFError, match="96 bytes of voxels, expected 120"):
        read_voxels(file)


@pytest.mark.parametrize("end", [b"", bytes(9)])
def test_gzip_may_have_several_members(tmp_path, end):
    file, data = write_nrrd(tmp_path / "x.nhdr", VOXELS, AFFINE, compressed=True), VOXELS.tobytes(order="F")
    file.with_suffix(".raw").write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]) + end)
    np.testing.assert_array_equal(read_voxels(file), VOXELS)
    file.with_suffix(".raw").write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:])[:-9])
    with pytest.raises(EOFError, match="end early"):
        read_voxels(file)
