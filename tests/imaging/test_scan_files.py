# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

from scan_files import body, write_scan

from universal_model_components.imaging.scan_files import content_hash, find_scans, parts_of, stem


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
