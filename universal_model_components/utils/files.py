# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes: to a temporary name in the same folder, flushed, then renamed."""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil


def _node() -> str:
    """Return a short name of this machine: process ids are valid on one machine only."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def remove_orphans(folder: Path, name: str = "*") -> None:
    """Remove the temporary files of processes that were killed while writing `name`.

    Files of running processes, and of other machines that share the folder, are kept.
    """
    for left in folder.glob(f".{name}.*.tmp"):
        node, _, process = left.name.split(".")[-2].rpartition("-")
        if node in ("", _node()) and process.isdigit() and not psutil.pid_exists(int(process)):
            left.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """Return a name as part of a file's: what other than letters, digits, dots, underscores and hyphens becomes "_"."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def make_folders(**folders: str | Path) -> None:
    """Make the folders that a run will write to, before it starts.

    Args:
        folders: key of the setting → folder.

    Raises:
        ValueError: when one cannot be made or written to; one line.
    """
    for key, folder in folders.items():
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK | os.X_OK)
        except OSError as error:
            raise ValueError(f"{key}: {folder} cannot be made ({error.strerror}): give another folder") from error
        if not writable:
            raise ValueError(f"{key}: {folder} cannot be written to: give another folder")


def write_atomically(file: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` on a temporary path in the folder of `file`, flush it to disk, and rename it to `file`.

    After a failure (a full disk, a killed process) the previous content is still there.

    Raises:
        OSError: when it cannot be written; the message names the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    remove_orphans(file.parent, glob.escape(file.name))
    beside = file.with_name(f".{file.name}.{_node()}-{os.getpid()}.tmp")
    try:
        write(beside)
        with beside.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(beside, file)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or error
        message = f"{file} could not be written ({reason}): free some space; the previous file is kept"
        raise OSError(getattr(error, "errno", None), message) from error
    finally:
        beside.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write text as UTF-8, atomically.

    Raises:
        OSError: as `write_atomically`.
    """
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as readable JSON, atomically.

    Raises:
        OSError: as `write_atomically`.
    """
    write_text(file, json.dumps(content, indent=2, sort_keys=True) + "\n")
