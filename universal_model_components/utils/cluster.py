# SPDX-License-Identifier: Apache-2.0
"""Work on many cases on a Dask cluster: the same function as in local processes, scheduled by `dask.distributed`.

Dask repeats a call when its worker dies. That is safe, because a call keeps a finished case and writes a new one
atomically. Workers need this package and the same paths, on a shared file system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

CONNECT_SECONDS = 20


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Yield a client of the scheduler at an address; closing it at the end cancels calls that have not started.

    Raises:
        ValueError: when `distributed` is not installed, or nothing answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        wanted = "pip install 'universal-model-components[cluster]'"
        raise ValueError(f"scheduler: needs dask.distributed ({error}): {wanted}") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"scheduler: nothing answers at {address!r} ({reason}): start `dask scheduler`, or give null"
        ) from error
    with client:
        yield client


def cluster_threads(address: str) -> int:
    """Return the number of calls that the cluster runs at once.

    Raises:
        ValueError: as `connect`.
    """
    with connect(address) as client:
        return sum(client.nthreads().values())


def run_on_cluster(
    function: Callable[..., Any],
    arguments: Sequence[tuple],
    address: str,
    folder: str | Path,
    lost: Callable[[tuple, str], Any],
    version: Callable[[], str],
) -> Iterator[Any]:
    """Yield `function(*a)` for each a, in the order in which they finish.

    Args:
        function: importable by name; calling it twice does no harm.
        arguments: one tuple for each call; paths in them are absolute.
        address: of the scheduler, for example tcp://10.0.0.1:8786.
        folder: that every worker must see.
        lost: makes the result of a call that too many workers died at (Dask's `allowed-failures`), from the call and
            the reason.
        version: importable by name; returns the version of `function` where it runs.

    Raises:
        ChildProcessError: when the scheduler is lost.
        ValueError: as `connect`; when a worker lacks the package, has another version or does not see the folder.
        Exception: whatever a call raises; calls that have not started are canceled.
    """
    with connect(address) as client:
        from distributed import KilledWorker, as_completed

        _check_workers(client, str(folder), version)
        # One list for each parameter; `pure=False`, because equal calls must not share a result.
        futures = client.map(_call, [function] * len(arguments), arguments, pure=False, batch_size=1000)
        calls = dict(zip(futures, arguments, strict=True))
        del futures  # each is released once its result has arrived
        for future, result in as_completed(calls, loop=client.loop, with_results=True, raise_errors=False):
            call, error = calls.pop(future), result[1] if future.status == "error" else result
            if isinstance(error, KilledWorker):
                yield lost(call, "its worker died, and so did those that tried again: out of memory?")
            elif future.status == "cancelled":
                raise ChildProcessError(f"scheduler: lost the connection to {address} ({error}): run again to resume")
            elif isinstance(error, BaseException):
                raise error
            else:
                yield result


def _call(function: Callable[..., Any], arguments: tuple) -> Any:
    torch.set_num_threads(1)  # as in local processes, so that results are the same
    return function(*arguments)


def _look(folder: str, version: Callable[[], str]) -> tuple[str, bool]:
    return version(), Path(folder).is_dir()


def _check_workers(client: Any, folder: str, version: Callable[[], str]) -> None:
    """Ask every connected worker for its version of this package, and whether it sees the folder."""
    from distributed.comm import CommClosedError

    if not client.nthreads():
        print("scheduler: no worker yet, waiting for one: start `dask worker ADDRESS`", flush=True)
        client.wait_for_workers(1)
    for worker, answer in client.run(_look, folder, version, on_error="return").items():
        gone = isinstance(answer, OSError) and worker not in client.nthreads()
        if gone or isinstance(answer, CommClosedError):
            continue  # it died as it was asked; its calls go to the others, or to the one that replaces it
        if isinstance(answer, BaseException):
            raise ValueError(f"scheduler: worker {worker}: {type(answer).__name__}: {answer}: install this package")
        there, seen = answer
        if there != version():
            raise ValueError(
                f"scheduler: worker {worker} has version {there}, here is {version()}: install the same one"
            )
        if not seen:
            raise ValueError(f"scheduler: worker {worker} sees no folder {folder}: put it on a shared file system")
