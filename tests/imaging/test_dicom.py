# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import locale

import itk
import numpy as np
import pytest
from dicom_series import CLASSES, JPEG_2000, ROOT, write_file, write_series

from universal_model_components.imaging.dicom import find_series, origin_of, read_series, series_grid, slices_of
from universal_model_components.imaging.dicom_header import Slice, is_dicom, read_slice, undecoded
from universal_model_components.imaging.errors import ScanError
from universal_model_components.imaging.normalization import load_scan
from universal_model_components.imaging.reading import header_notes, read_grid, read_header, read_scan
from universal_model_components.imaging.scan_files import content_hash, find_scans, names_of, parts_of

SHAPE, CENTER = (24, 20, 16), (14, 8, 6)
C, S = np.cos(0.3), np.sin(0.3)
GEOMETRIES = {  # origin, rows, spacing between columns and rows, step; mm, LPS
    "axial": ((-20, -30, 40), (1, 0, 0, 0, 1, 0), (1.5, 1), (0, 0, 2)),
    "from the head down": ((-20, -30, 40), (1, 0, 0, 0, 1, 0), (1, 1.5), (0, 0, -2)),
    "sagittal": ((5, -30, 60), (0, 1, 0, 0, 0, -1), (1, 1.25), (2, 0, 0)),
    "coronal": ((5, -30, 60), (1, 0, 0, 0, 0, -1), (1, 1.25), (0, 1.75, 0)),
    "oblique": ((10, 0, 0), (C, S, 0, -S, C, 0), (1, 1), (0, 0, 1.5)),
    "tilted gantry": ((10, 0, 0), (1, 0, 0, 0, C, S), (1, 1), (0, 0, 1.5)),
}


def ball(radius=4.0):
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return np.where(np.linalg.norm(grid - CENTER, axis=-1) < radius, 400.0, -800.0)


def place_of(values, affine, threshold):
    """Return the mean place of the bright voxels, mm, RAS."""
    return (affine @ [*np.argwhere(values > threshold).mean(axis=0), 1])[:3]


def written_place(origin, rows, spacing, step):
    """Return where the ball's center was written: by DICOM's definition of a place, then from LPS to RAS."""
    i, j, k = CENTER
    across, down = np.array(rows[:3]) * spacing[0], np.array(rows[3:]) * spacing[1]
    return (np.array(origin) + i * across + j * down + k * np.array(step)) * (-1, -1, 1)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_ball_is_where_the_headers_say_in_hounsfield_units(tmp_path, name):
    geometry = GEOMETRIES[name]
    write_series(tmp_path, ball(), *geometry, slope=2, intercept=-1000)
    voxels, affine = read_scan(tmp_path)
    assert voxels.shape == SHAPE
    assert set(np.unique(voxels)) == {-800, 400}
    np.testing.assert_allclose(place_of(voxels, affine, 0), written_place(*geometry), atol=0.01)
    np.testing.assert_allclose(read_grid(tmp_path)[1], affine)
    assert read_grid(tmp_path)[0] == SHAPE
    assert sorted(read_header(tmp_path)[0]) == sorted(SHAPE)
    scan = load_scan(tmp_path, window=(-1000, 1000), scale="range")
    np.testing.assert_allclose(place_of(scan.volume.numpy(), scan.affine, 0.5), written_place(*geometry), atol=0.5)
    tilted = [f"{tmp_path}: axes are 17.2° off a right angle (tilted gantry?): kept as they are"]
    assert scan.notes == header_notes(tmp_path) == (tilted if name == "tilted gantry" else [])


def test_headers_of_any_encoding_and_of_junk_are_read(tmp_path):
    for file in write_series(tmp_path, ball(), patient="DOERING", t00280008="one"):
        file.write_bytes(file.read_bytes().replace(b"DOERING", b"D\xd6RING "))
    assert read_scan(tmp_path)[0].shape == SHAPE
    assert origin_of(tmp_path).hashed_patient == "patient-" + hashlib.sha256(b"D\xd6RING").hexdigest()[:16]


def test_each_slice_has_its_own_slope_as_in_pet(tmp_path):
    rising = np.broadcast_to(np.arange(6.0), (4, 5, 6))
    for k in range(6):
        tags = {"slope": 0.5 ** (k + 1) if k else 1, "intercept": 0, "name": f"{k}.dcm", "modality": "pet"}
        write_series(tmp_path, rising[..., k : k + 1], origin=(0, 0, k), **tags)
    voxels, _ = read_series(tmp_path)
    np.testing.assert_array_equal(voxels, rising)
    assert voxels.dtype == np.float32


def thinned(folder, keep):
    for number, file in enumerate(write_series(folder, ball())):
        if not keep(number):
            file.unlink()


def moved(folder, by):
    thinned(folder, lambda k: k != 7)
    write_series(folder, ball()[..., 7:8], origin=(0, 0, 7 + by), name="moved.dcm")


def damaged(folder, change):
    file = write_series(folder, ball())[3]
    file.write_bytes(change(file.read_bytes()))


def mixed(folder, voxels=None, place=20.0, **settings):
    write_series(folder, ball())
    write_series(folder, ball()[..., :1] if voxels is None else voxels, (0, 0, place), name="other.dcm", **settings)


UNUSABLE = {
    "7 of 32 missing": (lambda d: thinned(d, lambda k: not 6 <= k < 9), "missing or unevenly spaced .4 mm after 011"),
    "uneven by 2 %": (lambda d: moved(d, 0.02), "missing or unevenly spaced"),
    "several volumes": (lambda d: mixed(d, place=3), "lie at one place: several volumes"),
    "shapes": (lambda d: mixed(d, ball()[:-1, :, :1]), r"slices of different shapes in one series, \(24, 20\) and"),
    "orientations": (lambda d: mixed(d, rows=(1, 0, 0, 0, C, S)), "different orientations"),
    "pixel spacings": (lambda d: mixed(d, spacing=(1, 1.1)), "different pixel spacings"),
    "multi-frame": (lambda d: mixed(d, t00280008="8"), "other.dcm: a multi-frame image of 8 frames: convert it"),
    "no position": (lambda d: write_series(d, ball(), t00200032=""), "no valid position, orientation and pixel sp"),
    "no direction": (lambda d: write_series(d, ball(), rows=(1, 0, 0, 1, 0, 0)), "no valid position, orientation"),
    "no series": (lambda d: write_series(d, ball(), t0020000E=""), "no SeriesInstanceUID in its header: export it"),
    "unknown": (
        lambda d: write_series(d, ball(), syntax="1.2.3"),
        "001.dcm: truncated, or .*transfer syntax 1.2.3;",
    ),
    "truncated": (lambda d: damaged(d, lambda raw: raw[:-200]), "013.dcm: truncated, or compressed"),
    "empty folder": (lambda d: None, "no DICOM series in this folder"),
    "no scan": (lambda d: write_series(d, ball(), t00080008="A\\B\\LOCALIZER"), "no DICOM series in this folder"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_even_readable_grid_is_refused_in_one_line(tmp_path, name):
    make, message = UNUSABLE[name]
    make(tmp_path)
    for read in (read_scan, read_grid, series_grid):
        with pytest.raises(ScanError, match=message) as caught:
            read(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}: ")
        assert "\n" not in str(caught.value)


def test_pixels_that_gdcm_cannot_decode_are_refused(tmp_path):
    write_series(tmp_path, ball(), syntax=JPEG_2000)
    with pytest.raises(ScanError, match=f"or compressed as GDCM cannot read .transfer syntax {JPEG_2000};"):
        read_scan(tmp_path)


def test_what_lies_within_one_percent_is_even(tmp_path):
    moved(tmp_path, 0.008)
    assert read_scan(tmp_path)[0].shape == SHAPE


@pytest.fixture
def own_locale():
    """GDCM's writer sets the process's locale to "C", in which Python's default encoding is ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.usefixtures("own_locale")
def test_lossless_compression_is_read(tmp_path):
    values = ball()[..., :1].astype(np.int16)
    for k in range(2):
        image = itk.image_from_array(np.ascontiguousarray(values.T))
        tags = image.GetMetaDataDictionary()
        position = {"0020|0032": f"0\\0\\{k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|000e": "1.2.3", "0008|0060": "CT"}
        for tag, text in position.items():
            tags[tag] = text
        writer, gdcm = itk.ImageFileWriter[itk.Image[itk.SS, 3]].New(image), itk.GDCMImageIO.New()
        gdcm.KeepOriginalUIDOn()
        writer.SetImageIO(gdcm)
        writer.SetFileName(str(tmp_path / f"{k}.dcm"))
        writer.UseCompressionOn()
        writer.Update()
    assert b"1.2.840.10008.1.2.4." in (tmp_path / "0.dcm").read_bytes()[:400]
    np.testing.assert_array_equal(read_scan(tmp_path)[0], values.repeat(2, axis=2))


def test_a_folder_is_a_series_unless_several_share_it(tmp_path, caplog):
    write_series(tmp_path / "one", ball())
    write_series(tmp_path / "one", ball()[..., :2], uid="2", name="scout{}.dcm", t00080008="DERIVED\\LOCALIZER")
    write_series(tmp_path / "one", ball()[..., :1], uid="3", name="screenshot.dcm")
    report = {0x00080016: CLASSES["sr"], 0x00080018: ROOT + "9", 0x0020000E: ROOT + "4"}
    write_file(tmp_path / "one/report.dcm", report)
    (tmp_path / "one/readme.txt").write_text("not DICOM")
    write_series(tmp_path / "two", ball(), uid="5", name="A{:03d}")
    write_series(tmp_path / "two", ball()[..., ::2], step=(0, 0, 2), uid="6", name="B{:03d}")
    first, second, third = find_scans(tmp_path)
    assert (first, second, third) == (tmp_path / "one", tmp_path / "two/A001", tmp_path / "two/B001")
    assert "one: DICOM files left out: 2 localizer, 1 no CT, MR or PET image, 1 of a series of one image" in caplog.text
    assert [read_scan(scan)[0].shape[2] for scan in (first, second, third)] == [16, 16, 8]
    assert names_of(third) == {"B001", ROOT + "6"}
    assert list(find_series(tmp_path, ["two"])) == []
    with pytest.raises(ScanError, match="two: 2 DICOM series in this folder: name a file of one: A001, B001"):
        slices_of(tmp_path / "two")
    with pytest.raises(ScanError, match=r"report.dcm: not a slice of a CT, MR or PET series"):
        read_scan(tmp_path / "one/report.dcm")


def test_the_hash_covers_every_slice_and_no_other_series(tmp_path):
    files = write_series(tmp_path, ball())
    assert parts_of(tmp_path) == sorted(files)
    first = content_hash(tmp_path)
    write_series(tmp_path, ball(), uid="2", name="x{}.dcm")
    assert content_hash(files[0]) == first
    files[4].write_bytes(files[4].read_bytes()[:-2] + b"xx")
    assert content_hash(files[0]) != first


def test_ids_are_hashed(tmp_path):
    file = write_series(tmp_path, ball(), modality="mri")[0]
    header = read_slice(file)
    assert isinstance(header, Slice)
    assert header == origin_of(file)
    assert (header.patient, header.series, header.modality) == ("DOE-1234", ROOT + "1", "mri")
    assert header.hashed_patient.startswith("patient-")
    assert header.hashed_series.startswith("series-")
    assert not {"DOE-1234", ROOT + "1"} & {header.hashed_patient, header.hashed_series}
    write_series(tmp_path / "b", ball(), patient="")
    assert origin_of(tmp_path / "b").hashed_patient is None


def test_dicom_is_known_by_its_preamble_or_suffix(tmp_path):
    (tmp_path / "a.nii").write_bytes(bytes(400))
    (tmp_path / "b.IMA").touch()
    assert [is_dicom(tmp_path / name) for name in ("a.nii", "b.IMA", "missing.dcm", "missing")] == [0, 1, 0, 0]
    assert origin_of(tmp_path / "a.nii") is None
    assert read_slice(tmp_path / "b.IMA") is None
    assert undecoded(b"", RuntimeError("x")).startswith("truncated, or compressed")
