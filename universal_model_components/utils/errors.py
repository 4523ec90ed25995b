# SPDX-License-Identifier: Apache-2.0
"""User errors, such as a missing file or an invalid setting: exceptions in the package, one line at the end of a run.

They are `ValueError`, `OSError` or `FloatingPointError`, which a notebook or a federated client can catch.
MONAI's parser and transforms wrap them in errors of their own; `user_error` finds the original.
"""

from __future__ import annotations

import builtins
import logging
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

USER_ERRORS = (OSError, ValueError, FloatingPointError)
INTERRUPTED = 130  # exit code of a process interrupted by Ctrl-C: 128 + SIGINT
GO_ON = {  # after Ctrl-C, by command; an interrupt that comes with a message has its own
    "train": "run again with --resume true to continue from the last checkpoint",
    "evaluate": "run again: it starts from the first case",
    "inference": "run again: it starts from the first scan; files that were written are complete",
}

Kind = TypeVar("Kind", bound=BaseException)


def find_cause(error: BaseException, kinds: type[Kind] | tuple[type[Kind], ...]) -> Kind | None:
    """Return the first error of the given kinds in the chain of an error and its causes, None where there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kinds):
        cause = cause.__cause__
    return cause


def user_error(error: BaseException) -> str | None:
    """Return a user error as one line; None for any other error, such as a bug."""
    cause = find_cause(error, USER_ERRORS) or root_cause(error)
    kind, text = type(cause), str(cause)
    if isinstance(cause, OSError) and cause.strerror:
        text = f"{cause.filename}: {cause.strerror}" if cause.filename else cause.strerror
    if "Traceback (most recent call last)" in text:  # of a DataLoader's worker, or of SaveImage's writer
        named, text = _last_error(text)
        kind = kind if issubclass(kind, USER_ERRORS) else named
    if not issubclass(kind, USER_ERRORS):
        return None
    return " ".join(line.strip() for line in text.strip().splitlines()) or kind.__name__


def root_cause(error: BaseException) -> BaseException:
    """Return the error at the end of the chain of causes: what was raised first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _last_error(text: str) -> tuple[type[BaseException], str]:
    """Return kind and message of the error that a traceback ends with; `Exception` for a kind that is not a builtin."""
    *_, name, message = ["", "", *re.split(r"^(?:\w+\.)*(\w+Error): ", text, flags=re.MULTILINE)]
    return getattr(builtins, name, Exception), re.sub(r"^\[Errno \w+\] ", "", message)


def show_user_errors(command: str) -> None:
    """End this process with one line, `command: message`, on a user error; the traceback is logged at level DEBUG.

    It replaces `sys.excepthook`, which interactive sessions, notebooks and servers do not reach. Ctrl-C also ends in
    one line, with how to go on and exit code 130; any other error goes to the previous hook.

    Args:
        command: what the line begins with, such as "train".
    """
    previous = sys.excepthook.previous if isinstance(sys.excepthook, _Hook) else sys.excepthook
    sys.excepthook = _Hook(command, previous)
    threading.excepthook = _show_in_thread


def _show_in_thread(raised: threading.ExceptHookArgs) -> None:
    """Show a thread's user error as one line, such as that of TensorBoard's writer on a full disk."""
    error = raised.exc_value
    if isinstance(error, Exception) and user_error(error) is not None:
        sys.excepthook(raised.exc_type, error, raised.exc_traceback)
    else:
        threading.__excepthook__(raised)


def _close_progress_bars() -> None:
    """End the line of each progress bar that the error left open, so that the message has a line of its own."""
    for bar in list(tqdm._instances):
        bar.close()


@dataclass(frozen=True)
class _Hook:
    command: str
    previous: Callable[..., Any]

    def __call__(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        hint = error.args or [GO_ON[name] for name in [self.command] if name in GO_ON]
        line = ": ".join(["interrupted", *map(str, hint)]) if interrupted else user_error(error)
        if line is None or hasattr(sys, "ps1"):  # a bug, or an interactive session, which continues
            self.previous(kind, error, traceback)
            return
        logger.debug("traceback of the error below", exc_info=(kind, error, traceback))
        _close_progress_bars()
        print(f"{self.command}: {line.removeprefix(f'{self.command}: ')}", file=sys.stderr, flush=True)
        if interrupted:
            sys.exit(INTERRUPTED)
