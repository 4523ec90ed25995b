# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import stat
import zipfile

import pytest
from monai.apps.utils import extractall

from universal_model_components.commands.weights import verify
from universal_model_components.utils.archives import check_zip, write_zip


def zipped(file, *members):
    """Write a zip of (name, mode or None) pairs."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode or 0) << 16
            archive.writestr(info, "../../outside")
    return file


LINK = stat.S_IFLNK | 0o777
GOOD = ("bundle/configs/train.json", None)
BAD = {
    "parent": [("bundle/../../outside", None), "outside its folder"],
    "absolute": [("/outside", None), "outside its folder"],
    "backslash": [("bundle\\..\\..\\outside", None), "outside its folder"],
    "drive": [("C:/outside", None), "outside its folder"],
    "link": [("bundle/models/model.pt", LINK), "is a link"],
    "device": [("bundle/models/model.pt", stat.S_IFCHR | 0o666), "is a link or a special file"],
    "twice": [GOOD, "two members have one name"],
    "other folder": [("configs/train.json", None), r"holds \['bundle', 'configs'\]"],
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_would_surprise_is_refused(kind, tmp_path):
    member, message = BAD[kind]
    file = zipped(tmp_path / "bundle.zip", GOOD, member)
    with pytest.raises(ValueError, match=message) as caught:
        verify(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["parent", "absolute", "link"])
def test_monai_writes_nothing_outside_and_no_link(kind, tmp_path):
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    file = zipped(tmp_path / "bundle.zip", BAD[kind][0])
    if kind == "link":  # MONAI writes a link as a small text file
        extractall(file, inside)
        assert (inside / "bundle/models/model.pt").is_file()
    else:
        with pytest.raises(ValueError, match="Unsafe path"):
            extractall(file, inside)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle.zip", "deep"]
    assert not [p for p in tmp_path.rglob("*") if p.is_symlink()]


def test_damaged_archives_are_named(tmp_path):
    write_zip(tmp_path / "good.zip", {"bundle/a": b"a" * 1000})
    assert check_zip(tmp_path / "good.zip") == ["bundle/a"]
    content = (tmp_path / "good.zip").read_bytes()
    flipped = content.replace(b"aa", b"ab", 1)
    for name, wrong in (("cut.zip", content[:500]), ("page.zip", b"<html>"), ("bit.zip", flipped)):
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(ValueError, match=r"download it again") as caught:
            check_zip(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        check_zip(tmp_path / "none.zip")


def test_the_same_bytes_in_any_order(tmp_path):
    files = {"bundle/b": b"b", "bundle/a": b"a"}
    write_zip(tmp_path / "one.zip", files)
    write_zip(tmp_path / "two.zip", dict(reversed(files.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["bundle/a", "bundle/b"]
        assert archive.read("bundle/a") == b"a"
