# SPDX-License-Identifier: Apache-2.0
"""Every file of a bundle, a folder or a zip, handed to the reader of its kind; code of other kinds is marked."""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..utils.archives import check_zip
from .configs import audit_config, imported_names, read_config, unreadable
from .entries import FILE, PATH, Entry
from .expressions import WEIGHTS
from .logging_files import audit_logging
from .weight_files import MAGIC, NUMPY, ZIP, audit_weights

CONFIGS = (".json", ".yaml", ".yml")
LOGGING = (".conf", ".cfg", ".ini")
CODE = (
    *(".py", ".pyc", ".pyo", ".pyw", ".pyd", ".pyx", ".ipynb", ".so", ".dll", ".dylib", ".exe", ".sh", ".bash"),
    *(".bat", ".cmd", ".ps1", ".js", ".jar", ".whl", ".egg", ".toml"),
)
SCANS = (".nii.gz",)  # data, in whatever folder of the bundle they lie
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
PROGRAMS = (b"\x7fELF", b"MZ", b"#!")
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")

Files = dict[str, Callable[[], bytes]]  # each is read when its turn comes: a bundle's folder may hold a data set


def audit_bundle(bundle: str | Path) -> list[Entry]:
    """Read every file of a bundle and list what it would run, import or load; nothing of it is run or imported.

    Args:
        bundle: a folder, or a zipped bundle.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is not a bundle, or an archive that is damaged or would leave its folder.
    """
    path = Path(bundle)
    if path.is_dir():
        files, links = _read_folder(path)
    else:
        files, links = _read_zip(path), []
    if not any(PurePosixPath(name).parent.name == "configs" for name in files):
        raise ValueError(f"bundle: {bundle} has no folder configs: give a bundle's folder, or its zip")
    configs, entries = {}, list(links)
    for name, read in files.items():
        if name.lower().endswith(CONFIGS):
            try:
                configs[name] = read_config(name, read())
            except (ValueError, TypeError, RecursionError) as error:
                entries.append(unreadable(name, error))
    aliases = imported_names(configs)
    for name, read in files.items():
        if name in configs and PurePosixPath(name).name in LARGE_FILES:
            entries += _of_large_files(name, configs[name])
        elif name in configs:
            entries += list(audit_config(name, configs[name], aliases, files.keys()))
        elif not name.lower().endswith(CONFIGS):
            entries += _of_other(name, read())
    return sorted(entries, key=lambda entry: entry.file)  # in the order of each file otherwise


def _read_folder(folder: Path) -> tuple[Files, list[Entry]]:
    """Return all files of a folder; links are listed, and followed only to files inside it."""
    root, files, links = folder.resolve(), Files(), list[Entry]()
    for parent, folders, names in os.walk(root):
        for name in sorted([*folders, *names]):
            path = Path(parent) / name
            inside = path.relative_to(root).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                links.append(Entry(inside, "", PATH, f"-> {path.readlink()}", ("a link out of the bundle",)))
            elif path.is_file():
                files[inside] = path.read_bytes
        folders.sort()
    return files, links


def _read_zip(file: Path) -> Files:
    names = check_zip(file)
    with zipfile.ZipFile(file) as archive:
        members = zip(names, archive.infolist(), strict=True)
        return {name: functools.partial(_read_member, file, info) for name, info in members if not info.is_dir()}


def _read_member(file: Path, info: zipfile.ZipInfo) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return archive.read(info)


def _of_other(name: str, content: bytes) -> Iterator[Entry]:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in LOGGING:
        yield from audit_logging(name, content)
    elif suffix in CODE or content.startswith(PROGRAMS):
        yield Entry(name, "", FILE, name, ("code, which the audit does not read",))
    elif suffix in ARCHIVES and not name.lower().endswith(SCANS):
        yield Entry(name, "", FILE, name, ("an archive, which the audit does not open",))
    elif suffix in WEIGHTS or content.startswith((*MAGIC, NUMPY, ZIP)):
        yield from audit_weights(name, content)


def _of_large_files(name: str, content: object) -> Iterator[Entry]:
    """Yield what a bundle downloads: each file needs a path inside, https, and a hash."""
    listed = content.get("large_files") if isinstance(content, Mapping) else None
    for number, entry in enumerate(listed or []):
        facts = {str(key): str(value) for key, value in entry.items()} if isinstance(entry, Mapping) else {}
        path, url = PurePosixPath(facts.get("path", "").replace("\\", "/")), facts.get("url", "")
        problems = []
        if path.is_absolute() or ".." in path.parts or not path.name:
            problems.append(f"{path}: outside the bundle")
        if not url.startswith("https://"):
            problems.append(f"{url or 'no url'}: not https")
        if not facts.get("hash_val") or not facts.get("hash_type"):
            problems.append("no hash: what is downloaded is not checked")
        yield Entry(name, f"large_files::{number}", PATH, f"{path} from {url}", tuple(problems))
