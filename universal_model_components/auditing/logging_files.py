# SPDX-License-Identifier: Apache-2.0
"""A bundle's logging.conf: Python's `logging.config.fileConfig` evaluates the class and arguments of each handler."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator

from .configs import unreadable
from .entries import EXPRESSION, TARGET, Entry

HANDLERS = ("StreamHandler", "NullHandler")  # others write files, or send
FORMATTER = "logging.Formatter"
STREAMS = ("sys.stdout", "sys.stderr")
EVALUATED = ("class", "args", "kwargs", "defaults")  # the last by Python 3.12 and later
INTERPOLATED = "%("  # Python puts the value of another key here before it evaluates


def audit_logging(name: str, content: bytes) -> Iterator[Entry]:
    """Yield the classes and arguments of a logging file; handlers of Python with constant arguments are harmless.

    Args:
        name: of the file.
        content: of the file.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(content.decode("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        yield unreadable(name, error)
        return
    for section in parser.sections():
        for key, value in parser.items(section):
            place = f"{section}::{key}"
            if INTERPOLATED in value and key in EVALUATED:
                yield Entry(name, place, EXPRESSION, value, ("evaluated with other values put into it",))
            elif key == "class":
                yield Entry(
                    name, place, TARGET, value, () if _is_harmless(section, value) else (f"{value}: runs code",)
                )
            elif key in EVALUATED:
                problems = () if _is_constant(value) else ("evaluated, and not a constant",)
                yield Entry(name, place, EXPRESSION, value, problems)


def _is_harmless(section: str, value: str) -> bool:
    if section.startswith("formatter_"):
        return value == FORMATTER
    return value.removeprefix("logging.") in HANDLERS


def _is_constant(text: str) -> bool:
    """Return whether Python evaluates a text to constants and standard streams."""
    for stream in STREAMS:
        text = text.replace(stream, "None")
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True
