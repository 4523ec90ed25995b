# SPDX-License-Identifier: Apache-2.0
"""Process many cases in several processes: one thread each, clean shutdown, no orphans when the run is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any

import torch


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exit_with_parent() -> None:
    """Exit when the parent does, even by SIGKILL: otherwise a worker would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def run_parallel(function: Callable[..., Any], arguments: Sequence[tuple], workers: int) -> Iterator[Any]:
    """Yield `function(*a)` for each a, in the order in which they finish.

    Args:
        function: importable by name; it and its arguments and result can be pickled.
        arguments: one tuple for each call; its first item is a mapping whose `file` names the call in messages.
        workers: processes; 0 runs in this process, also with one thread, so that results are identical bit for bit.

    Raises:
        ChildProcessError: when a worker process dies (usually out of memory); the message names the files in progress.
        Exception: whatever a call raises; calls that have not started are canceled, running ones finish.
    """
    if workers < 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from (function(*call) for call in arguments)
        finally:
            torch.set_num_threads(threads)
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([function.__module__])  # imports torch and MONAI once, not once for each worker
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    left: dict[Future, str] = {}  # in the order of the calls, which is the order of the work
    try:
        for call in arguments:
            left[pool.submit(function, *call)] = str(call[0]["file"])
        for future in as_completed(list(left)):
            result = future.result()
            del left[future]
            yield result
    except BrokenProcessPool as error:
        files = ", ".join(list(left.values())[: min(workers, 5)])
        raise ChildProcessError(
            f"a worker process died, possibly out of memory, possibly at {files}: use fewer num_workers, "
            "or remove that scan"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
