# SPDX-License-Identifier: Apache-2.0
"""Locks between processes: a file's lock, which the system releases when its holder ends, even by SIGKILL."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # a file system without locks, as some of clusters


@contextmanager
def locked(file: Path) -> Iterator[int | None]:
    """Hold a file's lock while the body runs; yield the open file, or None when another process has it.

    Where the file system has no locks, everybody gets it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = True
        except BlockingIOError:
            is_held = False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            is_held = True
        yield descriptor if is_held else None
    finally:
        os.close(descriptor)
