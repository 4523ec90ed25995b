# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage

from universal_model_components.imaging.writers import AtomicNibabelWriter
from universal_model_components.inference.naming import ResultName


def save(folder, image):
    saver = SaveImage(
        *(folder, "seg", ".nii.gz"),
        resample=False,
        separate_folder=False,
        print_log=False,
        writer=AtomicNibabelWriter,
        output_name_formatter=ResultName("."),
    )
    return saver(image)


def test_a_volume_is_written_with_its_affine_whatever_its_axes(tmp_path, generator):
    affine = np.array([[0, -1.5, 0, 7], [0, 0, 2.5, -3], [1, 0, 0, 11], [0, 0, 0, 1]], dtype=np.float64)
    voxels = torch.rand(1, 4, 5, 6, generator=generator)
    save(tmp_path, MetaTensor(voxels, torch.from_numpy(affine), {"filename_or_obj": "scan.nii.gz"}))
    assert [file.name for file in tmp_path.iterdir()] == ["scan_seg.nii.gz"]
    found = nibabel.load(tmp_path / "scan_seg.nii.gz")
    np.testing.assert_allclose(found.affine, affine)
    np.testing.assert_allclose(found.get_qform(), affine, atol=1e-5)
    np.testing.assert_allclose(np.asarray(found.dataobj), voxels[0].numpy())


def test_a_sheared_volume_has_no_qform(tmp_path):
    affine = np.array([[1, 0, 0.2, 7], [0, 1, 0, -3], [0, 0, 2, 11], [0, 0, 0, 1]], dtype=np.float64)
    save(tmp_path, MetaTensor(torch.zeros(1, 9, 8, 7), torch.from_numpy(affine), {"filename_or_obj": "scan.mha"}))
    header = nibabel.load(tmp_path / "scan_seg.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("X.NII.GZ", "X_seg.nii.gz"),
        ("Y.Nii.gz", "Y_seg.nii.gz"),
        ("x.MHA", "x_seg.nii.gz"),
        ("x.seg.nrrd", "x.seg_seg.nii.gz"),
        ("x.hdr.gz", "x_seg.nii.gz"),
        ("V1.2.nii", "V1.2_seg.nii.gz"),
    ],
)
def test_a_mask_is_named_by_its_scan(tmp_path, scan, mask):
    save(tmp_path, MetaTensor(torch.zeros(1, 3, 3, 3), torch.eye(4), {"filename_or_obj": scan}))
    assert [file.name for file in tmp_path.iterdir()] == [mask]


def test_a_failure_leaves_what_was_there(tmp_path, generator, monkeypatch):
    image = MetaTensor(torch.rand(1, 4, 5, 6, generator=generator), torch.eye(4), {"filename_or_obj": "scan.nii.gz"})
    save(tmp_path, image)
    before = (tmp_path / "scan_seg.nii.gz").read_bytes()
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Exception, match="No space left on device"):
        save(tmp_path, image * 2)
    assert (tmp_path / "scan_seg.nii.gz").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
