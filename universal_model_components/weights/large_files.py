# SPDX-License-Identifier: Apache-2.0
"""`large_files.yml`: the files that a bundle downloads, by path, URL and hash, and checks of what is on disk.

`python -m monai.bundle download_large_files` fetches these. MONAI 1.6 checks a file before it is put in place, MONAI
1.5 puts it in place first, so a listed file is verified again when it is loaded.
"""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

NAMES = ("large_files.yml", "large_files.yaml", "large_files.json")
HASHES = ("sha256", "sha512", "sha1", "md5")


def read_large_files(bundle: str | Path) -> list[dict[str, str]]:
    """Read a bundle's list: dicts with keys path, url, hash_val and hash_type.

    Raises:
        FileNotFoundError: when the bundle has no list.
        ValueError: when the list, or an entry, does not have the form that MONAI's download expects.
    """
    file = next((path for name in NAMES if (path := Path(bundle) / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{bundle}: no {NAMES[0]}: give a bundle's folder")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return [_checked(entry, file) for entry in content["large_files"]]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file}: no list `large_files` ({type(error).__name__}): package the bundle again") from error


def _checked(entry: Any, file: Path) -> dict[str, str]:
    keys = ("path", "url", "hash_val", "hash_type")
    if not isinstance(entry, Mapping) or any(not isinstance(entry.get(key), str) or not entry[key] for key in keys):
        raise ValueError(f"{file}: {reprlib.repr(entry)[:80]} lacks one of {list(keys)}: package the bundle again")
    if entry["hash_type"] not in HASHES:
        raise ValueError(f"{file}: hash_type {entry['hash_type']!r} is not one of {list(HASHES)}")
    path = PurePosixPath(entry["path"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{file}: path {entry['path']!r} leaves the bundle: do not use this bundle")
    return {key: entry[key] for key in keys}


def file_hash(file: str | Path, hash_type: str = "sha256") -> str:
    """Hash a file's bytes."""
    digest = hashlib.new(hash_type)
    with Path(file).open("rb") as handle:  # Python 3.10 has no `hashlib.file_digest`
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def listed_entry(file: str | Path) -> dict[str, str] | None:
    """Return the large_files.yml entry of a file in a bundle, None where it is not listed."""
    absolute = Path(os.path.abspath(file))  # a linked models folder belongs to the bundle too
    for bundle in absolute.parents[:3]:
        if any((bundle / name).is_file() for name in NAMES):
            path = absolute.relative_to(bundle).as_posix()
            return next((e for e in read_large_files(bundle) if PurePosixPath(e["path"]).as_posix() == path), None)
    return None


def problem_of(file: str | Path, entry: Mapping[str, str]) -> str | None:
    """Return one line that says what is wrong with a listed file, None when nothing is."""
    if not Path(file).is_file():
        return f"{file}: missing: run `python -m monai.bundle download_large_files --bundle_path BUNDLE`"
    found = file_hash(file, entry["hash_type"])
    if found == entry["hash_val"]:
        return None
    return (
        f"{file}: {entry['hash_type']} is {found[:12]}…, large_files lists {entry['hash_val'][:12]}…: delete it and "
        "download it again"
    )
