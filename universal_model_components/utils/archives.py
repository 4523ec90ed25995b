# SPDX-License-Identifier: Apache-2.0
"""Zipped bundles: written reproducibly, and checked for safety before they are unpacked."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from .files import write_atomically

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can store


def write_zip(file: Path, members: Mapping[str, bytes]) -> None:
    """Zip files reproducibly: sorted, one date, one mode, and stored, because compressors differ between versions.

    Args:
        file: what to write, atomically.
        members: contents of the files by their names in the archive.
    """

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(members):
                info = zipfile.ZipInfo(name, LONG_AGO)
                info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
                archive.writestr(info, members[name])

    write_atomically(file, write)


def check_zip(file: str | Path) -> list[str]:
    """Read a whole zipped bundle without unpacking it, and return its members' names.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a zip or damaged, or a member is absolute, leaves the folder (`..`), is a link,
            occurs twice, or lies outside the bundle's single folder.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file}: no such file: give a zipped bundle")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError) as error:
        raise ValueError(f"{file}: not a whole zip file ({error}): download it again") from error
    names = [_safe_name(member, file) for member in members]
    if damaged is not None:
        raise ValueError(f"{file}: {damaged} is damaged: download it again")
    if len(set(names)) < len(names):
        raise ValueError(f"{file}: two members have one name: do not unpack it")
    roots = sorted({name.split("/")[0] for name in names})
    if len(roots) != 1:
        raise ValueError(f"{file}: holds {roots[:4]}, expected the one folder of a bundle")
    return names


def _safe_name(member: zipfile.ZipInfo, file: str | Path) -> str:
    name = member.orig_filename.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise ValueError(f"{file}: member {name!r} would be written outside its folder: do not unpack it")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{file}: member {name!r} is a link or a special file: do not unpack it")
    return name
