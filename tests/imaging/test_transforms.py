# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from scan_files import body, write_scan

from universal_model_components.imaging.errors import ScanError, scan_error
from universal_model_components.imaging.transforms import (
    ORIGINAL_SPACE,
    NormalizeScand,
    ReadScand,
    ToOriginalSpaced,
    file_of,
    grid_of,
)
from universal_model_components.phantom import draw_brain_mri, draw_heart_ct

CT, MRI = {"intensity_range": (-1000, 1000), "intensity_scale": "range"}, {"intensity_range": (0, 4000)}


def pipeline(**kwargs):
    keys = ["image", "label"] if "label_keys" in kwargs else ["image"]
    return Compose([LoadImaged(keys), EnsureChannelFirstd(keys), NormalizeScand("image", **kwargs)])


def write_phantom(folder, phantom, mask):
    nibabel.save(phantom.nifti(), folder / "image.nii.gz")
    nibabel.save(phantom.nifti(mask), folder / "label.nii.gz")
    return {"image": str(folder / "image.nii.gz"), "label": str(folder / "label.nii.gz")}


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize(
    "settings", [CT, MRI, {"intensity_range": None}, {"intensity_range": None, "intensity_scale": "percentiles"}]
)
def test_a_volume_in_memory_is_normalized_as_for_pretraining(tmp_path, settings):
    phantom = draw_heart_ct(1, (24, 20, 16), spacing=(3.0, 2.0, 2.5), axcodes="PIR", tilt=8)
    nibabel.save(phantom.nifti(), tmp_path / "ct.nii")
    window, scale = {"ct": settings["intensity_range"]}, {"ct": settings.get("intensity_scale", "volume")}
    given = {"image": str(tmp_path / "ct.nii"), "modality": "ct"}
    expected = Compose([ReadScand("image"), NormalizeScand("image", window, scale)])(given)["image"]
    found = pipeline(**settings)({"image": str(tmp_path / "ct.nii")})["image"]
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.affine, expected.affine)


GRIDS = [
    [{"axcodes": "RAS", "spacing": (1.0, 1.0, 1.0)}],
    [{"axcodes": "LPS", "spacing": (2.0, 2.0, 2.0)}],
    [{"axcodes": "LAS", "spacing": (1.5, 1.5, 3.0)}],  # left-handed
    [{"axcodes": "PIR", "spacing": (1.2, 1.2, 4.0), "tilt": 15.0}],  # permuted, oblique, anisotropic
    [{"axcodes": "ASL", "spacing": (2.0, 1.0, 3.0), "tilt": -9.0}],
    [{"axcodes": "RPI", "spacing": (0.7, 0.7, 0.7)}],  # finer than the network's grid
]


@pytest.mark.parametrize("grid", [grid for (grid,) in GRIDS], ids=lambda grid: grid["axcodes"])
def test_a_mask_comes_back_to_the_scan_that_it_is_of(tmp_path, grid):
    phantom = draw_brain_mri(3, (40, 44, 24), **grid)
    sides = np.meshgrid(*(np.linspace(-1, 1, n) for n in phantom.image.shape), indexing="ij")
    phantom.labels["blob"] = sum(((s - c) / 0.4) ** 2 for s, c in zip(sides, (0.4, -0.2, 0.1), strict=True)) < 1
    phantom.labels["blob"] = phantom.labels["blob"].astype(np.uint8)
    data = pipeline(label_keys="label", **MRI)(write_phantom(tmp_path, phantom, "blob"))
    assert data["image"].shape == data["label"].shape
    assert nibabel.aff2axcodes(data["image"].affine.numpy()) == ("R", "A", "S")
    data["pred"] = data["label"]  # a network that answers rightly
    back = ToOriginalSpaced("pred")(data)["pred"]
    assert back.shape[1:] == phantom.image.shape
    np.testing.assert_allclose(back.affine, phantom.affine)
    assert back.meta["filename_or_obj"].endswith("image.nii.gz")
    assert ORIGINAL_SPACE not in back.meta
    exact = min(grid["spacing"]) >= 1
    assert dice(back.numpy()[0] > 0.5, phantom.labels["blob"] > 0) >= (0.97 if exact else 0.9)


def test_a_single_voxel_comes_back_to_its_place():
    """No symmetric anatomy that could hide an axis the wrong way round."""
    voxels = np.zeros((12, 9, 7), np.float32)
    voxels[2, 6, 1] = 100.0
    affine = np.array([[0, -2.0, 0, 5], [0, 0, 3.0, -7], [1.5, 0, 0, 2], [0, 0, 0, 1]])
    image = MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine))
    data = NormalizeScand("image")({"image": image})
    brightest = np.unravel_index(int(data["image"].argmax()), data["image"].shape[1:])
    place = data["image"].affine.numpy() @ [*brightest, 1]
    np.testing.assert_allclose(place, affine @ [2, 6, 1, 1], atol=0.6)  # half a voxel of 1 mm along each axis
    back = ToOriginalSpaced("pred")({**data, "pred": data["image"].as_tensor()})["pred"]
    assert np.unravel_index(int(back.argmax()), back.shape[1:]) == (2, 6, 1)


def test_other_keys_are_left_alone_and_no_label_is_needed(tmp_path):
    file = str(write_scan(tmp_path / "a.nii.gz", body()))
    data = pipeline(**CT)({"image": file, "image_path": "a string", "extra": 3})
    assert (data["image_path"], data["extra"]) == ("a string", 3)
    loaded = Compose(
        [LoadImaged("image"), EnsureChannelFirstd("image"), NormalizeScand("image", label_keys="label", **CT)]
    )
    assert set(loaded({"image": file})) == {"image"}


@pytest.mark.parametrize("modality", ["mri", None])
def test_percentiles_come_back_to_the_unit_of_the_file(tmp_path, modality):
    voxels = body(modality="mri")
    voxels[0, 0, 0] = 20000
    given = {"image": str(write_scan(tmp_path / "a.nii", voxels)), **({"modality": modality} if modality else {})}
    windows, scales = {"ct": [-1000, 1000], "mri": None}, {"ct": "range", "mri": "percentiles"}
    data = Compose([ReadScand("image"), NormalizeScand("image", windows, scales, None)])(given)
    native = ToOriginalSpaced("image", restore_intensity=True)(data)["image"]
    limits = np.percentile(voxels, [0.5, 99.5], method="nearest")
    np.testing.assert_allclose(native[0], voxels.clip(*limits), atol=1e-4 * limits[1])


def test_spacing_null_keeps_the_scans_own(tmp_path):
    file = str(write_scan(tmp_path / "a.nii.gz", body()))
    assert pipeline(spacing="null", **CT)({"image": file})["image"].shape == (1, 32, 32, 32)


def test_a_clip_that_changes_much_is_reported(tmp_path, caplog):
    file = str(write_scan(tmp_path / "mri.nii.gz", body(modality="mri") * 100))
    with caplog.at_level(logging.WARNING):
        pipeline(**MRI)({"image": file})
    assert "mri.nii.gz: clipping to (0, 4000) changed" in caplog.text
    caplog.clear()
    pipeline(intensity_range="null")({"image": file})
    assert caplog.text == ""


def moved(affine, shift):
    return affine + np.array([[0, 0, 0, shift], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("label", "affine", "message"),
    [
        [
            np.zeros((32, 32, 31), np.uint8),
            2.0,
            r"label.nii.gz: shape \(32, 32, 31\), expected \(32, 32, 32\) of .*image.nii.gz",
        ],
        [np.zeros((32, 32, 32), np.uint8), moved(np.diag([2.0, 2, 2, 1]), 1.0), r"corners lie up to 1 mm from those"],
        [np.full((32, 32, 32), 3, np.uint8), 2.0, r"label value 3 in 32768 voxels, expected \[0, 1, 2\]"],
    ],
)
def test_labels_that_do_not_fit_are_named_in_one_line(tmp_path, label, affine, message):
    data = {"image": str(write_scan(tmp_path / "image.nii.gz", body()))}
    data["label"] = str(write_scan(tmp_path / "label.nii.gz", label, affine))
    with pytest.raises(RuntimeError) as caught:
        pipeline(label_keys="label", label_values=[1, 2], **CT)(data)
    error = scan_error(caught.value)
    assert error is not None
    assert "\n" not in str(error)
    with pytest.raises(ScanError, match=message):
        raise error


def test_a_grid_that_differs_by_rounding_is_accepted(tmp_path):
    data = {"image": str(write_scan(tmp_path / "image.nii.gz", body()))}
    data["label"] = str(
        write_scan(tmp_path / "label.nii.gz", np.ones((32, 32, 32)), moved(np.diag([2.0, 2, 2, 1]), 0.1))
    )
    assert pipeline(label_keys="label", **CT)(data)["label"].min() == 1


def test_the_way_back_needs_the_way_there():
    with pytest.raises(ValueError, match="image: no 'original_space' in its metadata"):
        ToOriginalSpaced("pred")({"image": torch.zeros(1, 4, 4, 4), "pred": torch.zeros(1, 4, 4, 4)})


def test_two_channels_are_refused():
    with pytest.raises(ScanError, match=r"shape \(2, 4, 4, 4\), expected a MetaTensor \(1, H, W, D\)"):
        NormalizeScand("image")({"image": MetaTensor(torch.rand(2, 4, 4, 4))})


def test_a_real_scan_above_the_window_is_reported_and_null_takes_its_own_range(real_data, caplog):
    folder = real_data / "hippocampus_mri"
    name = next(file.name for file in sorted((folder / "imagesTr").iterdir()) if "_044" in file.name)
    data = {"image": str(folder / "imagesTr" / name), "label": str(folder / "labelsTr" / name)}
    own = pipeline(intensity_range="null", label_keys="label", label_values=[1, 2])(dict(data))
    assert caplog.text == ""
    assert 0.05 < float(own["image"].mean()) < 0.95
    own["pred"] = own["label"]
    back = ToOriginalSpaced("pred")(own)["pred"].numpy()[0] > 0.5
    assert np.array_equal(back, np.asarray(nibabel.load(data["label"]).dataobj) > 0)
    with caplog.at_level(logging.WARNING):
        pipeline(**MRI)({"image": data["image"]})
    assert "clipping to (0, 4000) changed" in caplog.text


def test_grid_of_a_scan_in_memory():
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.rand(1, 4, 5, 6), affine, {"filename_or_obj": "scan.nii"})
    assert file_of(image, "image") == "scan.nii"
    assert file_of(torch.rand(2), "image") == "image"
    grid = grid_of(image, "image")
    assert (grid.file, grid.shape) == ("scan.nii", (4, 5, 6))
    np.testing.assert_array_equal(grid.affine, affine.numpy())
    for wrong, found in ((torch.rand(1, 4, 5, 6), r"\(1, 4, 5, 6\)"), (image[:, :, :, 0], r"\(1, 4, 5\)"), (3, "int")):
        with pytest.raises(ScanError, match=rf"{found}, expected a MetaTensor \(1, H, W, D\)"):
            grid_of(wrong, "image")
