# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest
from scan_files import body, write_scan

from universal_model_components.imaging.scan_files import (
    content_hash,
    find_scans,
    name_other_images,
    parts_of,
    stem,
    suffix_of,
)


def test_scans_below_a_folder_are_found_sorted_hidden_ones_passed_over(tmp_path):
    names = ["b/2.nii.gz", "b/1.NII", "a/x.mhd", "a/x.raw", "a/.hidden.nii", ".folder/y.nii", "notes.txt", "z.nrrd"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path / "a", tmp_path / "c")  # a second way to the same folder
    found = [file.relative_to(tmp_path).as_posix() for file in find_scans(tmp_path)]
    assert found == ["z.nrrd", "a/x.mhd", "b/1.NII", "b/2.nii.gz"]
    assert list(find_scans(tmp_path / "none")) == []


def test_a_metaimage_has_the_data_file_that_its_header_names(tmp_path):
    header, data = tmp_path / "scan.mhd", tmp_path / "other name.raw"
    header.write_text("ElementType = MET_SHORT\nElementDataFile = other name.raw\n")
    assert parts_of(header) == [header]
    data.write_bytes(b"1")
    assert parts_of(header) == [header, data]
    before = content_hash(header)
    data.write_bytes(b"2")
    assert content_hash(header) != before  # the data count too
    nifti = write_scan(tmp_path / "scan.nii.gz", body((4, 4, 4)))
    assert parts_of(nifti) == [nifti]
    assert stem("a/b.nii.gz") == "a/b"


def test_a_nifti_pair_is_one_scan_and_voxels_without_a_header_are_not_passed_over(tmp_path):
    for name in ("a.hdr", "a.img", "B.HDR", "B.IMG", "c.hdr.gz", "c.img.gz", "lost.img", "d.nhdr", "d.raw", "e.mgz"):
        (tmp_path / name).touch()
    found = [file.name for file in find_scans(tmp_path)]
    assert found == ["B.HDR", "a.hdr", "c.hdr.gz", "d.nhdr", "e.mgz", "lost.img"]
    assert [stem(name) for name in found] == ["B", "a", "c", "d", "e", "lost"]
    for first, second in (("a.hdr", "a.img"), ("a.img", "a.hdr"), ("B.HDR", "B.IMG"), ("c.img.gz", "c.hdr.gz")):
        assert parts_of(tmp_path / first) == [tmp_path / first, tmp_path / second]
    assert parts_of(tmp_path / "lost.img") == [tmp_path / "lost.img"]


@pytest.mark.parametrize(
    ("header", "text", "names"),
    [
        ("x.mhd", "ElementDataFile = LOCAL\n", []),
        ("x.mhd", "ElementDataFile = LIST\ns1.raw\ns2.raw\n", ["s1.raw", "s2.raw"]),
        ("x.mhd", "ElementDataFile = s%d.raw 1 3 2\n", ["s1.raw", "s3.raw"]),
        ("x.nhdr", "NRRD0004\ndata file: s2.raw\n\n", ["s2.raw"]),
        ("X.NHDR", "NRRD0004\r\ndatafile: LIST\r\ns3.raw\r\ns1.raw\r\n", ["s3.raw", "s1.raw"]),
        ("x.nhdr", "NRRD0004\ndata file: s%01d.raw 1 2 1 2\n\n", ["s1.raw", "s2.raw"]),
        ("x.nhdr", "NRRD0004\n\n", []),
    ],
)
def test_the_files_that_a_header_names_are_part_of_the_scan(tmp_path, header, text, names):
    for number in (1, 2, 3):
        (tmp_path / f"s{number}.raw").touch()
    (tmp_path / header).write_bytes(text.encode())
    assert parts_of(tmp_path / header) == [tmp_path / name for name in (header, *names)]


def test_images_of_other_formats_have_one_line(tmp_path):
    assert name_other_images(tmp_path) == []
    for name in ("b/x.MNC", "b/y.nii.bz2", "b/notes.txt", ".hidden/z.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    line = f"{tmp_path / 'b/x.MNC'}: not a format that is read (2 such files): convert to .nii, .nii.gz"
    assert name_other_images(tmp_path) == [line]


def test_suffixes_are_read_without_case():
    assert [suffix_of(name) for name in ("a/X.NII.GZ", "x.hdr.gz", "x.seg.nrrd", "x.gz", "X.MHA")] == [
        ".nii.gz",
        ".hdr.gz",
        ".nrrd",
        "",
        ".mha",
    ]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, caplog):
    """As another user's: root, who runs tests in containers, may list every folder."""
    for name in ("a/1.nii", "b/2.nii"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert [file.name for file in find_scans(tmp_path)] == ["2.nii"]
    assert caplog.messages == [f"{tmp_path}/a: cannot be listed (Permission denied): what is in it is left out"]
