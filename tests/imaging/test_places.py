# SPDX-License-Identifier: Apache-2.0
"""A ball of known place, in mm, through reading, a bundle's transforms and its mask, checked by nibabel and by ITK."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from scan_formats import write_metaimage, write_nifti, write_nrrd
from scipy.spatial.transform import Rotation

from universal_model_components.imaging.normalization import load_scan

BUNDLE = Path(__file__).parents[2] / "bundles" / "left_atrium_mri_segmentation"
SHAPE, SIDES, RADIUS = (24, 22, 20), (1.0, 1.2, 1.5), 4.0
CENTER = np.array([12.0, -31.0, 47.0])  # of the volume, mm, RAS
BALL = CENTER + [3.0, -4.0, 5.0]
OBLIQUE = Rotation.from_euler("xyz", (14, -9, 21), degrees=True).as_matrix()
SHEAR = np.array([[1, 0, 0], [0, 1, 0.27], [0, 0, 1]])  # a gantry tilted by 15°

AXES = {
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "RAS": np.eye(3),
    "oblique": OBLIQUE,
    "sheared": SHEAR,
    "flipped": np.array([[0, 0, -1.0], [1, 0, 0], [0, -1.0, 0]]),  # P, I, L: other axes, all of them turned round
}
STALE = (256, "<6f", (0.0,) * 6)  # an empty qform
FORMATS = {
    "sform": (".nii.gz", lambda *scan: write_nifti(*scan, codes=(1, 0), edits=[STALE])),
    "qform": (".nii", lambda *scan: write_nifti(*scan, codes=(0, 1))),
    "both, scaled": (".nii.gz", lambda *scan: write_nifti(*scan, codes=(1, 1), slope=(0.5, 100.0))),
    "MetaImage": (".mha", write_metaimage),
    "NRRD": (".nrrd", lambda *scan: write_nrrd(*scan, space="left-anterior-superior")),
    "detached NRRD": (".nhdr", lambda *scan: write_nrrd(*scan, space="LPS", compressed=True)),
}
PHANTOMS = [(axes, form) for axes in AXES for form in FORMATS if (axes, form) != ("sheared", "qform")]
PHANTOMS.append(("sheared", "stale qform"))  # a qform cannot be sheared: here it says something else


def write_phantom(folder, axes, form):
    affine = np.eye(4)
    affine[:3, :3] = AXES[axes] * SIDES
    affine[:3, 3] = CENTER - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    places = np.moveaxis(np.indices(SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    voxels = np.where(np.linalg.norm(places - BALL, axis=-1) <= RADIUS, 1000, 200).astype(np.int16)
    voxels += np.random.default_rng(0).integers(0, 40, SHAPE, dtype=np.int16)
    if form == "stale qform":
        return write_nifti(folder / "Scan.NII.GZ", voxels, affine, (1, 1), [(268, "<3f", (0.0, 0.0, 0.0))])
    suffix, write = FORMATS[form]
    return write(folder / f"scan{suffix}", voxels, affine)


def bright(voxels):
    """Positions of the voxels of the ball, (N, 3)."""
    return np.argwhere(voxels > (voxels.min() + voxels.max()) / 2)


def by_affine(voxels, affine):
    return nibabel.affines.apply_affine(affine, bright(voxels)).mean(0)


def by_nibabel(file):
    image = nibabel.load(file)
    return by_affine(np.asarray(image.dataobj), image.affine)


def by_itk(file):
    image = itk.imread(str(file))
    places = bright(itk.array_from_image(image))[:, ::-1].tolist()  # z, y, x
    return np.mean([image.TransformIndexToPhysicalPoint(place) for place in places], axis=0) * (-1, -1, 1)


@lru_cache
def bundle(dataset_dir, output_dir):
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    parser.update({"bundle_root": str(BUNDLE), "dataset_dir": dataset_dir, "output_dir": output_dir})
    return parser.get_parsed_content("preprocessing"), parser.get_parsed_content("postprocessing")


@pytest.mark.parametrize(("axes", "form"), PHANTOMS)
def test_a_ball_is_found_where_it_is(tmp_path, axes, form):
    file = write_phantom(tmp_path, axes, form)
    half = min(SIDES) / 2
    truth = by_nibabel(file) if ".nii" in file.name.lower() else by_itk(file)
    np.testing.assert_allclose(truth, BALL, atol=half)  # the phantom is what it should be

    prepared = load_scan(file)
    np.testing.assert_allclose(by_affine(prepared.volume.numpy(), prepared.affine), BALL, atol=half)

    before, after = bundle(str(tmp_path), str(tmp_path / "eval"))
    data = before({"image": str(file), "case": "x"})
    volume = data["image"][0].numpy()
    np.testing.assert_allclose(by_affine(volume, data["image"].affine.numpy()), BALL, atol=half)

    middle = (volume.min() + volume.max()) / 2
    data["pred"] = MetaTensor((torch.as_tensor(data["image"]) - middle) * 20, meta=data["image"].meta)  # logits
    after(data)
    masks = list((tmp_path / "eval").iterdir())
    assert [mask.name for mask in masks] == [f"{file.name.split('.')[0]}_seg.nii.gz"]
    np.testing.assert_allclose(by_nibabel(masks[0]), BALL, atol=half)
    mask = nibabel.load(masks[0])
    assert mask.shape == SHAPE
    for form_affine, code in (mask.get_sform(coded=True), mask.get_qform(coded=True)):  # any viewer sees the same
        if code:
            np.testing.assert_allclose(form_affine, affine_of(file), atol=1e-3)
    assert (mask.header["qform_code"] == 0) == (axes == "sheared")
    if axes != "sheared":  # ITK reads no sheared NIfTI
        np.testing.assert_allclose(by_itk(masks[0]), BALL, atol=half)


def affine_of(file):
    """The affine of the scan, read without the project's code."""
    if ".nii" in file.name.lower():
        return nibabel.load(file).affine
    image = itk.imread(str(file))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine
