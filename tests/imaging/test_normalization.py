# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip

import itk
import nibabel
import numpy as np
import pytest
import torch
from scan_files import body, write_scan, write_with_rows

from universal_model_components.imaging.errors import ScanError, one_line
from universal_model_components.imaging.foreground import find_foreground, otsu
from universal_model_components.imaging.geometry import spacing_of, to_ras
from universal_model_components.imaging.normalization import check_size, intensity_limits, load_scan, normalize
from universal_model_components.imaging.reading import read_header, read_scan
from universal_model_components.imaging.scan_files import stem

CT = {"window": (-1000, 1000), "scale": "range"}


@pytest.mark.parametrize(
    ("file", "expected"),
    [("ct/a.nii.gz", "ct/a"), ("ct/a.NII", "ct/a"), ("a.b.mhd", "a.b"), ("a.nrrd", "a"), ("ct/a.gz", "ct/a.gz")],
)
def test_stem(file, expected):
    assert stem(file) == expected


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAI", "PSR", "SLA", "PIR"])
def test_orientation_brings_each_voxel_to_its_place(tmp_path, codes):
    # A marked voxel must be found at the index that its scanner coordinate gives in the RAS volume.
    voxels = np.zeros((6, 8, 10), dtype=np.float32)
    voxels[1, 2, 3] = 1
    ornt = nibabel.orientations.axcodes2ornt(codes)
    base = nibabel.Nifti1Image(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
    image = base.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(base.affine), ornt))
    nibabel.save(image, tmp_path / "a.nii")
    turned, affine = to_ras(*read_scan(tmp_path / "a.nii"))
    assert nibabel.aff2axcodes(affine) == ("R", "A", "S")
    np.testing.assert_array_equal(turned, voxels)
    np.testing.assert_allclose(affine, base.affine)
    assert read_header(tmp_path / "a.nii") == ((6, 8, 10), (2.0, 3.0, 4.0))


def test_oblique_scans_are_not_rotated(tmp_path):
    angle = np.deg2rad(12)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    voxels = body((24, 24, 24))
    scan = load_scan(write_scan(tmp_path / "a.nii", voxels, affine), **CT)
    np.testing.assert_allclose(scan.volume.numpy(), np.clip((voxels + 1000.0) / 2000, 0, 1), atol=1e-5)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_formats_give_the_same_volume(tmp_path, suffix):
    voxels, affine = body((16, 18, 20)), np.diag([-2.0, -2.0, 3.0, 1.0])  # LPS, as MetaImage and NRRD have it
    expected = load_scan(write_scan(tmp_path / "expected.nii", voxels, affine), **CT)
    file = tmp_path / f"scan{suffix}"
    if suffix.startswith(".nii"):
        write_scan(file, voxels, affine)
    else:
        image = itk.image_from_array(np.ascontiguousarray(voxels.T))
        image.SetSpacing([2.0, 2.0, 3.0])
        itk.imwrite(image, str(file))
    scan = load_scan(file, **CT)
    torch.testing.assert_close(scan.volume, expected.volume)
    np.testing.assert_allclose(scan.affine, expected.affine, atol=1e-5)
    assert read_header(file) == ((16, 18, 20), (2.0, 2.0, 3.0))


def test_resampling_keeps_the_world_where_it_is(tmp_path):
    scan = load_scan(write_scan(tmp_path / "a.nii", body((20, 20, 20)), 2.0), **CT, spacing=(1, 1, 1))
    assert scan.spacing == (1.0, 1.0, 1.0)
    assert scan.source_shape == (20, 20, 20)
    assert scan.source_spacing == (2.0, 2.0, 2.0)
    inside = scan.volume > 0.3
    center = inside.nonzero().double().mean(0).numpy()
    np.testing.assert_allclose(scan.affine @ [*center, 1], [19, 19, 19, 1], atol=0.3)  # 19 mm = middle of 20 voxels


def test_padding_and_metal_do_not_ring_out_of_range(tmp_path):
    voxels = body((24, 24, 24))
    voxels[:6], voxels[12, 12, 12] = -3024, 30000
    scan = load_scan(write_scan(tmp_path / "a.nii", voxels, 3.0), **CT)
    assert float(scan.volume.min()) == 0
    assert float(scan.volume.max()) == 1
    # Away from the border nothing of the padding is seen: the same scan padded with plain air gives the same volume.
    voxels[:6] = -1000
    air = load_scan(write_scan(tmp_path / "b.nii", voxels, 3.0), **CT)
    torch.testing.assert_close(scan.volume, air.volume)
    assert scan.notes == []


@pytest.mark.parametrize(
    ("window", "scale", "expected", "changed"),
    [
        ((-1000, 1000), "range", [0, 0, 0.5, 1, 1], 0.2),  # only what lies above counts
        ((0, 4000), "volume", [0, 0, 0, 1000 / 3000, 1], 0.4),
        (None, "volume", [0, 2024 / 6024, 3024 / 6024, 4024 / 6024, 1], 0.0),
        (None, "range", [0, 2024 / 6024, 3024 / 6024, 4024 / 6024, 1], 0.0),
        (None, "percentiles", [0, 2024 / 6024, 3024 / 6024, 4024 / 6024, 1], 0.0),
        ((0, 4000), "percentiles", [0, 0, 0, 1000 / 3000, 1], 0.4),
    ],
)
def test_normalize(window, scale, expected, changed):
    result, share = normalize(torch.tensor([-3024.0, -1000, 0, 1000, 3000]), window, scale)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float32))
    assert share == pytest.approx(changed)


def test_a_clip_that_changes_much_is_named(tmp_path):
    bright = load_scan(write_scan(tmp_path / "a.nii", body(modality="mri") * 10), (0, 4000), "volume")
    assert len(bright.notes) == 1
    assert "a.nii: clipping to (0, 4000) changed" in bright.notes[0]
    assert load_scan(tmp_path / "a.nii").notes == []


@pytest.mark.parametrize("kind", ["int16", "float32", "float64"])
@pytest.mark.parametrize("window", [None, (0, 800)])
@pytest.mark.parametrize("codes", ["RAS", "PIR"])
def test_percentiles_become_0_and_1(tmp_path, kind, window, codes):
    voxels = body((24, 20, 28), "mri")
    voxels[:2, 0, 0] = 30000, -200  # two voxels decide the minimum and maximum, and no percentile
    voxels = (voxels * 1.1).astype(kind)
    ornt = nibabel.orientations.axcodes2ornt(codes)
    image = nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    nibabel.save(
        image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), ornt)),
        tmp_path / "a.nii",
    )
    clipped = voxels if window is None else np.clip(voxels, *window)
    low, high = np.percentile(clipped.astype(np.float64), [0.5, 99.5])
    scan = load_scan(tmp_path / "a.nii", window, "percentiles", (2, 2, 2))
    np.testing.assert_allclose(scan.intensities, (low, high), atol=0.01 * (high - low))  # between two voxels
    low, high = scan.intensities
    np.testing.assert_allclose(scan.volume.numpy(), np.clip((clipped - low) / (high - low), 0, 1), atol=1e-6)
    assert scan.intensities == intensity_limits(voxels, window, "percentiles")
    normalized, _ = normalize(torch.from_numpy(voxels.astype(np.float32)), window, "percentiles")
    torch.testing.assert_close(normalized, scan.volume, rtol=0, atol=1e-6)


def test_one_bright_voxel_changes_nothing_between_percentiles(tmp_path):
    voxels = body(modality="mri")
    medians = {}
    for brightest in (voxels.max(), 20 * voxels.max()):
        voxels[16, 16, 16] = brightest
        file = write_scan(tmp_path / "a.nii", voxels)
        for scale in ("volume", "percentiles"):
            scan = load_scan(file, None, scale, (2, 2, 2))
            assert scan.notes == []
            medians.setdefault(scale, []).append(float(scan.volume.median()))
    assert medians["volume"][1] < 0.1 * medians["volume"][0]
    assert medians["percentiles"][1] == pytest.approx(medians["percentiles"][0], rel=1e-3)


@pytest.mark.parametrize("window", [None, (0, 4000)])
def test_equal_percentiles_are_an_error(tmp_path, window):
    voxels = np.zeros((20, 20, 20), np.int16)
    voxels[8:11, 8:11, 8:10] = 100  # 18 of 8000 voxels
    file = write_scan(tmp_path / "a.nii", voxels)
    clipped = "" if window is None else r" after clipping to \(0, 4000\)"
    message = f"a.nii: the percentiles 0.5 and 99.5 are both 0{clipped}: crop its background, .* intensity_scale volume"
    with pytest.raises(ScanError, match=message) as caught:
        load_scan(file, window, "percentiles")
    assert "\n" not in str(caught.value)
    assert load_scan(file, window, "volume").volume.max() == 1


def test_percentiles_note_what_the_window_changed_alone(tmp_path):
    file = write_scan(tmp_path / "a.nii", body(modality="mri"))
    assert load_scan(file, (-100, 4000), "percentiles").notes == []
    assert "clipping to (0, 500) changed" in load_scan(file, (0, 500), "percentiles").notes[0]


def test_otsu_separates_two_classes(generator):
    values = torch.cat([torch.randn(4000, generator=generator) * 0.1, 1 + torch.randn(500, generator=generator) * 0.1])
    assert 0.3 < otsu(values.numpy()) < 0.7


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_foreground_survives_a_noisy_background(generator, noise):
    volume = torch.zeros(60, 60, 40)
    volume[20:45, 15:40, 10:30] = 0.6
    volume[2, 2, 2] = 1  # a bright speck is no body
    volume = torch.hypot(
        volume + noise * torch.randn(volume.shape, generator=generator),
        noise * torch.randn(volume.shape, generator=generator),
    ).clamp(0, 1)
    box, _ = find_foreground(volume, (1.0, 1.0, 1.0))
    for part, (low, high) in zip(box, ((20, 45), (15, 40), (10, 30)), strict=True):
        assert low - 10 <= part.start <= low
        assert high <= part.stop <= high + 10


def test_a_second_part_of_the_body_that_is_left_out_is_named(tmp_path):
    legs = np.zeros((80, 40, 30), np.float32)
    legs[6:30, 8:32], legs[50:72, 8:32] = 100, 100
    file = write_scan(tmp_path / "legs.nii", legs, 2.0)
    found = load_scan(file, foreground=True)
    assert found.cropped_shape[0] < 40
    assert any("foreground crop leaves out a part with" in note and "legs.nii" in note for note in found.notes)
    assert not any("leaves out" in note for note in load_scan(file).notes)
    box, left_out = find_foreground(torch.from_numpy(legs / 100), (2.0, 2.0, 2.0))
    assert box[0].stop < 40
    assert 0.8 < left_out < 1
    legs[50:72] = 0
    assert find_foreground(torch.from_numpy(legs / 100), (2.0, 2.0, 2.0))[1] == 0


def test_foreground_crop_moves_the_affine(tmp_path):
    file = write_scan(tmp_path / "a.nii", np.pad(body((20, 20, 20), "mri"), 20), 1.0)
    whole, cropped = load_scan(file), load_scan(file, foreground=True)
    start = np.round(cropped.affine[:3, 3]).astype(int)
    assert (start > 5).all()
    part = tuple(slice(low, low + side) for low, side in zip(start, cropped.volume.shape, strict=True))
    torch.testing.assert_close(cropped.volume, whole.volume[part])


def _truncated(folder, suffix):
    file = write_scan(folder / f"bad{suffix}", body())
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


def _truncated_meta(folder):
    itk.imwrite(itk.image_from_array(body()), str(folder / "bad.mhd"))
    raw = next(folder.glob("bad*raw"))
    raw.write_bytes(raw.read_bytes()[:1000])
    return folder / "bad.mhd"


def _text(folder):
    (folder / "bad.nii.gz").write_bytes(gzip.compress(b"no image"))
    return folder / "bad.nii.gz"


def _voxels(value):
    voxels = body().astype(np.float32)
    voxels[3, 4, 5] = value
    return voxels


BAD = [
    (lambda d: d / "absent.nii", "no such file"),
    (lambda d: _truncated(d, ".nii"), "unreadable or truncated"),
    (lambda d: _truncated(d, ".nii.gz"), "unreadable or truncated"),
    (_truncated_meta, "unreadable or truncated"),
    (_text, "unreadable or truncated"),
    (lambda d: write_scan(d / "bad.nii", body()[:, :, 0]), "2D image"),
    (lambda d: write_scan(d / "bad.nii", body()[:, :, :1]), "2D image"),
    (lambda d: write_scan(d / "bad.nii", np.stack([body()] * 3, -1)), "4D image"),
    (lambda d: write_scan(d / "bad.nii", body().astype(np.complex64)), "voxels of type complex64"),
    (lambda d: write_scan(d / "bad.nii", _voxels(np.nan)), "1 voxels are NaN or infinite"),
    (lambda d: write_scan(d / "bad.nii", _voxels(np.inf)), "1 voxels are NaN or infinite"),
    (lambda d: write_scan(d / "bad.nii", np.full((8, 8, 8), 7, np.int16)), "constant volume"),
    (lambda d: write_scan(d / "bad.nii", body() + 5000), "constant after clipping"),
    (lambda d: write_with_rows(d / "bad.nii", [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]), "singular affine"),
    (lambda d: write_with_rows(d / "bad.nii", [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]), "singular affine"),
    (lambda d: write_with_rows(d / "bad.nii", [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, np.nan, 0]), "singular affine"),
    (lambda d: write_scan(d / "bad.nii", body(), 1000.0), "not a plausible patient size"),
    (lambda d: write_scan(d / "bad.nii", body(), 80.0), r"1\.\de\+10 voxels at spacing \[1.0, 1.0, 1.0\] mm"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_scans_are_named_in_one_line(tmp_path, make, message):
    file = make(tmp_path)
    with pytest.raises(ScanError, match=message) as caught:
        load_scan(file, **CT)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: d / "absent.nii", "no readable header"),
        (_text, "no readable header"),
        (lambda d: write_scan(d / "bad.nii", np.stack([body()] * 3, -1)), "not one 3D volume"),
        (lambda d: write_scan(d / "bad.nii", body()[None]), "not one 3D volume"),
        (lambda d: write_with_rows(d / "bad.nii", [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]), "singular affine"),
        (lambda d: write_with_rows(d / "bad.nii", [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, np.nan, 0]), "singular affine"),
    ],
)
def test_bad_headers_are_named_in_one_line(tmp_path, make, message):
    file = make(tmp_path)
    with pytest.raises(ScanError, match=message) as caught:
        read_header(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_an_error_of_many_lines_becomes_one_short_line():
    assert one_line(OSError("cannot read\n   a.mhd:\n\nno data file")) == "cannot read a.mhd: no data file"
    assert len(one_line(OSError("word " * 100))) == 150
    assert one_line(KeyError()) == "KeyError"
    itk_error = "/src/itkMetaImageIO.cxx:120: ITK ERROR: MetaImageIO(0x5610035ebd30): File cannot be read: a.mha"
    assert one_line(RuntimeError(itk_error)) == "MetaImageIO: File cannot be read: a.mha"


def test_loading_leaves_the_file_as_it_is(tmp_path):
    file = write_scan(tmp_path / "a.nii", body(modality="mri"), 1.0)  # float32, not compressed: the reader maps it
    before = file.read_bytes()
    load_scan(file, (0, 500), "volume")
    assert file.read_bytes() == before


def test_one_volume_in_four_dimensions_is_read(tmp_path):
    voxels, _ = read_scan(write_scan(tmp_path / "a.nii", body()[..., None]))
    assert voxels.shape == (32, 32, 32)


def test_real_scans_become_ras_volumes(real_data):
    for file in sorted((real_data / "pretraining").glob("*/*"))[::6]:
        scan = load_scan(
            file, *(((-1000, 1000), "range") if file.parent.name == "ct" else ((0, 4000), "volume")), (3,) * 3
        )
        assert nibabel.aff2axcodes(scan.affine) == ("R", "A", "S")
        np.testing.assert_allclose(spacing_of(scan.affine), 3, atol=0.01)
        assert 0 <= float(scan.volume.min()) < float(scan.volume.max()) <= 1


@pytest.mark.parametrize(
    ("window", "scale", "expected"),
    [
        ((-1000, 1000), "range", (-1000.0, 1000.0)),
        ((-1000, 1000), "volume", (-1000.0, 300.0)),
        ((0, 4000), "volume", (0.0, 300.0)),
        (None, "volume", (-2000.0, 300.0)),
        (None, "percentiles", (-2000.0, 300.0)),
        ((0, 200), "percentiles", (0.0, 200.0)),
        ((400, 500), "percentiles", (400.0, 400.0)),
    ],
)
def test_intensity_limits_are_what_normalize_makes_0_and_1(window, scale, expected):
    voxels = np.array([-2000.0, 100.0, 300.0]).reshape(3, 1, 1)
    assert intensity_limits(voxels, window, scale) == expected


def test_check_size_gives_the_resampled_shape_and_refuses_giants():
    assert check_size("a.nii", (10, 20, 31), (2.0, 1.0, 0.5), (1, 1, 1)) == (19, 20, 16)
    with pytest.raises(ScanError, match=r"^a\.nii: \[9000, 20, 30\] mm is not a plausible patient size"):
        check_size("a.nii", (9000, 20, 30), (1.0, 1.0, 1.0), (1, 1, 1))
    with pytest.raises(ScanError, match=r"^a\.nii: \[0\.51, 0\.51, 0\.3\] mm is not a plausible patient size"):
        check_size("a.nii", (512, 512, 300), (1e-3, 1e-3, 1e-3), (1, 1, 1))
    with pytest.raises(ScanError, match=r"^a\.nii: .* voxels at spacing \[0\.1, 0\.1, 0\.1\] mm"):
        check_size("a.nii", (500, 500, 500), (1.0, 1.0, 1.0), (0.1, 0.1, 0.1))
