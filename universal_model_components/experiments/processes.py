# SPDX-License-Identifier: Apache-2.0
"""Child processes with a log file each, which end when the experiment is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.2
SAVE_SECONDS = 10  # how much of a run's time is lost when this process is killed
MIB = 1 << 20


class Stopped(Exception):
    """The experiment was stopped while a child process ran, or before it began."""


@dataclass(frozen=True)
class Ended:
    """A child process that has ended.

    Args:
        status: exit code; negative is a signal's number.
        peak_memory_mib: the most memory that it, or the largest of its own children, had at once.
    """

    status: int
    peak_memory_mib: float


class Processes:
    """The child processes of one experiment; threads may share it."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.stopped = threading.Event()
        self.guard = threading.Lock()

    def run(
        self, command: list[str], log: Path, environment: Mapping[str, str], lock: int, tick: Callable[[float], None]
    ) -> Ended:
        """Run a command to its end, with what it prints appended to a log.

        Args:
            command: program and arguments.
            log: file.
            environment: of the command.
            lock: open file that the child inherits: what it locks stays locked if this process alone is killed.
            tick: is called every few seconds with the seconds since its last call, and at the end.

        Raises:
            Stopped: when `stop` was called.
        """
        with log.open("ab") as stream, self.guard:
            if self.stopped.is_set():
                raise Stopped
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=[lock],
                start_new_session=True,  # its workers end with it, and Ctrl-C reaches it through `stop` alone
            )
            self.running.add(child.pid)
        ended = self._wait(child, tick)
        if self.stopped.is_set():
            raise Stopped
        return ended

    def _wait(self, child: subprocess.Popen, tick: Callable[[float], None]) -> Ended:
        saved = time.monotonic()
        while True:
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            now = time.monotonic()
            if done or now - saved > SAVE_SECONDS:
                with suppress(OSError):  # the last one, by the caller, says so
                    tick(now - saved)
                saved = now
            if done:
                with self.guard:
                    self.running.discard(child.pid)
                child.returncode = os.waitstatus_to_exitcode(status)
                unit = 1 if sys.platform == "darwin" else 1024
                return Ended(child.returncode, usage.ru_maxrss * unit / MIB)
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End all children, and let no other begin."""
        with self.guard:
            self.stopped.set()
            for process in self.running:
                with suppress(ProcessLookupError):  # it has just ended
                    os.killpg(process, signal.SIGTERM)
