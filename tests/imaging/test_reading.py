# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import re

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from scan_formats import METAIMAGE, SPACES, write_metaimage, write_nifti, write_nrrd

from universal_model_components.imaging.errors import ScanError, scan_error
from universal_model_components.imaging.reading import ScanReader, header_notes, read_grid, read_header, read_scan

SHAPE = (7, 6, 5)
AFFINE = np.array([[0, -1.5, 0, 7], [0, 0, 2.5, -3], [1.25, 0, 0, 11], [0, 0, 0, 1]], dtype=np.float64)
TILTED = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def stored(dtype="int16"):
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    low, high = (max(info.min, -90), min(info.max, 200)) if info else (-90, 200)
    return np.linspace(low, high, np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def write_pair(suffix):
    def write(folder):
        nibabel.save(nibabel.Nifti1Pair(stored(), AFFINE), folder / f"x{suffix}")
        return folder / f"x{suffix}"

    return write


def write_mgh(folder, name="x.mgz"):
    nibabel.save(nibabel.MGHImage(stored(), AFFINE), folder / name)
    return folder / name


FORMATS = [
    *(lambda d, s=s: write_nifti(d / f"x{s}", stored(), AFFINE) for s in (".nii", ".nii.gz", ".NII", ".NII.GZ")),
    *(write_pair(suffix) for suffix in (".hdr", ".img", ".hdr.gz", ".img.gz", ".HDR")),
    *(lambda d, s=s: write_mgh(d, f"x{s}") for s in (".mgz", ".mgh", ".MGZ")),
    *(lambda d, s=s: write_metaimage(d / f"x{s}", stored(), AFFINE) for s in (".mha", ".mhd", ".MHA")),
    *(lambda d, s=s: write_nrrd(d / f"x{s}", stored(), AFFINE) for s in (".nrrd", ".nhdr", ".NRRD")),
    lambda d: write_metaimage(d / "x.mhd", stored(), AFFINE, compressed=True),
    lambda d: write_metaimage(d / "x.mha", stored(), AFFINE, compressed=True),
    lambda d: write_nrrd(d / "x.nhdr", stored(), AFFINE, compressed=True),
    lambda d: write_nrrd(d / "x.nrrd", stored(), AFFINE, compressed=True),
    *(lambda d, s=s: write_nrrd(d / "x.nrrd", stored(), AFFINE, space=s) for s in SPACES),
]


@pytest.mark.parametrize("write", FORMATS)
def test_every_format_has_its_voxels_and_its_place(tmp_path, write):
    file = write(tmp_path)
    voxels, affine = read_scan(file)
    np.testing.assert_array_equal(voxels, stored())
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    shape, grid = read_grid(file)
    assert shape == SHAPE
    np.testing.assert_array_equal(grid, affine)
    assert read_header(file) == ((6, 5, 7), pytest.approx((1.5, 2.5, 1.25)))
    assert header_notes(file) == []


@pytest.mark.parametrize("dtype", list(METAIMAGE))
@pytest.mark.parametrize("big_endian", [False, True])
def test_every_type_of_voxels(tmp_path, dtype, big_endian):
    voxels = stored(dtype)
    order = voxels.dtype.newbyteorder(">" if big_endian else "<")
    header = nibabel.Nifti1Header(endianness=order.byteorder if voxels.itemsize > 1 else ">")
    header.set_data_dtype(order)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE, header), tmp_path / "x.nii")
    write_metaimage(tmp_path / "x.mha", voxels, AFFINE, big_endian=big_endian)
    write_nrrd(tmp_path / "x.nrrd", voxels, AFFINE, big_endian=big_endian)
    for name in ("x.nii", "x.mha", "x.nrrd"):
        found, _ = read_scan(tmp_path / name)
        assert found.dtype == voxels.dtype
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, voxels)
        torch.from_numpy(found.astype(np.float32))


def test_slope_and_intercept_scale_the_voxels(tmp_path):
    voxels, _ = read_scan(write_nifti(tmp_path / "x.nii.gz", stored(), AFFINE, slope=(2.0, -1024.0)))
    np.testing.assert_array_equal(voxels, stored() * 2.0 - 1024)


STALE = (80, "<3f", (1.0, 1.0, 1.0))  # voxel sides that fit neither form
EMPTY = (256, "<6f", (0.0,) * 6)  # a qform of zeros


@pytest.mark.parametrize(
    ("codes", "edits", "notes", "unit"),
    [
        ((1, 0), [], [], 1),
        ((0, 1), [], [], 1),
        ((2, 1), [], [], 1),
        ((1, 0), [STALE, EMPTY], [], 1),  # MONAI's reader takes the qform here
        ((1, 1), [EMPTY], ["sform and qform differ by up to"], 1),
        ((1, 1), [STALE], ["sform and qform differ by up to"], 1),
        ((1, 1), [(256, "<3f", (2.0, 0.0, 0.0))], ["sform and qform differ by up to inf mm: the sform is taken"], 1),
        ((1, 1), [(123, "B", (1,))], ["the header is in meters: converted to mm"], 1000),
        ((1, 1), [(123, "B", (2 + 8,))], [], 1),
        ((1, 1), [(123, "B", (3 + 8,))], ["the header is in microns: converted to mm"], 0.001),
        ((1, 1), [(123, "B", (7,))], [], 1),
    ],
)
def test_the_place_of_a_nifti_is_that_of_the_standard(tmp_path, codes, edits, notes, unit):
    file = write_nifti(tmp_path / "x.nii", stored(), AFFINE, codes, edits)
    for affine in (read_scan(file)[1], read_grid(file)[1]):
        np.testing.assert_allclose(affine, np.diag([unit, unit, unit, 1]) @ AFFINE, rtol=1e-5, atol=1e-5 * unit)
    for line, note in zip(header_notes(file), notes, strict=True):
        assert line.startswith(f"{file}: {note}")


@pytest.mark.parametrize(
    ("affine", "codes", "notes"),
    [
        (TILTED, (1, 0), ["axes are 10.2° off a right angle (tilted gantry?)"]),
        (TILTED, (1, 1), ["sform and qform differ", "axes are 10.2° off a right angle (tilted gantry?)"]),
        (np.eye(4), (1, 1), ["the affine is the identity, as of a lost header"]),
        (AFFINE, (0, 0), ["the header gives no orientation (sform and qform codes are 0): axes taken as L, A, S"]),
    ],
)
def test_what_in_a_header_is_worth_a_line(tmp_path, affine, codes, notes):
    file = write_nifti(tmp_path / "x.nii.gz", stored(), affine, codes)
    assert [
        line[len(f"{file}: ") :][: len(note)] for line, note in zip(header_notes(file), notes, strict=True)
    ] == notes
    assert header_notes(tmp_path / "absent.nii") == []


def flipped_bit(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 16
    file.write_bytes(content)
    return file


def cut(file, share=0.5):
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    return file


def write_analyze(folder):
    nibabel.save(nibabel.AnalyzeImage(stored(), None), folder / "x.img")
    return folder / "x.hdr"


def write_several(folder, kind, count):
    layers = np.stack([stored("float32")] * count)
    return write_nrrd(folder / "x.nrrd", layers, AFFINE, layers=kind)


def without_size(file):
    file.write_bytes(re.sub(rb"CompressedDataSize.*\n", b"", file.read_bytes(), count=1))
    return file


NOISE = np.random.default_rng(0).integers(0, 1000, (9, 8, 7)).astype(np.int16)
BAD = [
    (
        lambda d: flipped_bit(write_nifti(d / "x.nii.gz", NOISE, AFFINE), -6),
        "unreadable or truncated .CRC check failed",
    ),
    (lambda d: flipped_bit(write_nifti(d / "x.nii.gz", NOISE, AFFINE), 700), "unreadable or truncated"),
    (lambda d: flipped_bit(write_nrrd(d / "x.nrrd", NOISE, AFFINE, compressed=True), -300), "unreadable or truncated"),
    (lambda d: flipped_bit(write_metaimage(d / "x.mha", NOISE, AFFINE, compressed=True), -3), "incorrect data check"),
    (lambda d: cut(write_metaimage(d / "x.mha", NOISE, AFFINE, compressed=True), 0.9), "compressed voxels end early"),
    (lambda d: without_size(write_metaimage(d / "x.mha", NOISE, AFFINE, compressed=True)), "without CompressedDataS"),
    (lambda d: cut(write_metaimage(d / "x.mha", NOISE, AFFINE), 0.9), "unreadable or truncated"),
    (lambda d: cut(write_nrrd(d / "x.nrrd", NOISE, AFFINE), 0.9), "unreadable or truncated"),
    (write_analyze, "an Analyze header, which does not say which side is left: convert it to NIfTI"),
    (lambda d: write_several(d, "list", 2), "voxels of type float vector of 2, not one number each"),
    (lambda d: write_several(d, "complex", 2), "voxels of type float complex of 2, not one number each"),
    (lambda d: write_several(d, "RGB-color", 3), "voxels of type float rgb of 3, not one number each"),
    (lambda d: write_nifti(d / "x.nii", stored().astype(np.complex64), AFFINE), "voxels of type complex64"),
    (lambda d: write_nifti(d / "x.nii", stored()[:, :, :1], AFFINE), r"2D image of shape \(7, 6, 1\)"),
    (lambda d: write_nifti(d / "x.nii", np.stack([stored()] * 2, -1), AFFINE), "4D image"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_what_cannot_be_read_is_named_in_one_line_by_every_way_in(tmp_path, make, message):
    file = make(tmp_path)
    with pytest.raises(ScanError, match=message) as caught:
        read_scan(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(ScanError) as loaded:
        LoadImaged("image", reader=ScanReader)({"image": str(file)})
    assert str(loaded.value) == str(caught.value)


def test_an_axis_of_length_one_after_the_third_is_dropped(tmp_path):
    file = write_nifti(tmp_path / "x.nii.gz", stored()[..., None, None], AFFINE)
    np.testing.assert_array_equal(read_scan(file)[0], stored())
    assert read_grid(file)[0] == SHAPE


def test_monai_loads_what_the_package_reads(tmp_path):
    file = write_nifti(tmp_path / "x.nii.gz", stored(), AFFINE, (1, 0), [STALE, EMPTY])
    for reader in (ScanReader, "universal_model_components.ScanReader"):  # as in Python, as in JSON
        load = Compose([LoadImaged("image", reader=reader), EnsureChannelFirstd("image")])
        image = load({"image": str(file)})["image"]
        assert image.dtype == torch.float32
        np.testing.assert_array_equal(image.numpy(), stored()[None])
        np.testing.assert_allclose(image.affine, AFFINE)
        np.testing.assert_allclose(image.meta["original_affine"], AFFINE)
        assert image.meta["spatial_shape"].tolist() == list(SHAPE)
        assert image.meta["filename_or_obj"] == str(file)
    with pytest.raises(RuntimeError) as caught:
        load({"image": [str(file), str(file)]})
    assert f"{file}: the first of 2 files" in str(scan_error(caught.value))


def test_a_file_of_another_name_is_left_to_itk(tmp_path):
    file = write_nifti(tmp_path / "x.nii", stored(), AFFINE)
    file.rename(tmp_path / "x.bin")
    with pytest.raises(ScanError, match="of no known format"):
        read_scan(tmp_path / "x.bin")
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(b"no image"))
    with pytest.raises(ScanError, match="no readable header"):
        header_notes(tmp_path / "y.nii.gz")
