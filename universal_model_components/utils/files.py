# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all: written beside their name, flushed, and renamed."""

from __future__ import annotations

import glob
import json
import os
import platform
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil


def _node() -> str:
    """Return a short name of this machine: process numbers mean something on one machine only."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def remove_orphans(folder: Path, name: str = "*") -> None:
    """Remove what processes that were killed while writing `name` left beside it.

    Files of living processes stay, and those of other machines that share the folder.
    """
    for left in folder.glob(f".{name}.*.tmp"):
        node, _, process = left.name.split(".")[-2].rpartition("-")
        if node in ("", _node()) and process.isdigit() and not psutil.pid_exists(int(process)):
            left.unlink(missing_ok=True)


def write_atomically(file: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` on a path beside `file`, flush it to the disk, and rename it over `file`.

    A failure on the way (a full disk, a kill) leaves what was there before.

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
        message = f"{file} could not be written ({reason}): free some space; what was there before is kept"
        raise OSError(getattr(error, "errno", None), message) from error
    finally:
        beside.unlink(missing_ok=True)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as readable JSON, atomically.

    Raises:
        OSError: as `write_atomically`.
    """
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
