# SPDX-License-Identifier: Apache-2.0
"""Checks of one value of a setting, as the command line gives it: the vocabulary of tables of settings.

A check returns what is wrong with a value as the rest of a sentence, or None when the value is valid.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .settings import to_bool, to_optional

Check = Callable[[Any], "str | None"]
LARGEST = 2**63 - 1  # of torch's integers


def check_values(settings: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Check every setting that a table has a check for.

    Args:
        settings: key → value.
        checks: key → check.

    Raises:
        ValueError: for the first invalid value; one line, with its key.
    """
    for key in (name for name in settings if name in checks):
        problem = checks[key](settings[key])
        if problem is not None:
            raise ValueError(f"{key}: {settings[key]!r} {problem}")


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; a boolean is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer that fits into a tensor; neither 2.0 nor a boolean is one."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_list(value: Any) -> bool:
    """Return whether a value is a list or a tuple: not a text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def boolean(value: Any) -> str | None:
    """Check what `to_bool` reads."""
    try:
        to_bool(value, "")
    except ValueError:
        return "is not a boolean: give true or false"
    return None


def whole(least: int = 0) -> Check:
    """Return a check for whole numbers of at least `least`."""
    return lambda value: None if is_whole(value) and value >= least else f"is not a whole number of at least {least}"


def number(least: float = 0, above: bool = False) -> Check:
    """Return a check for numbers of at least `least`, or above it."""
    wrong = f"is not a number {'above' if above else 'of at least'} {least:g}"
    return lambda value: None if is_number(value) and (value > least or (value == least and not above)) else wrong


def share(zero: bool = True, one: bool = True) -> Check:
    """Return a check for numbers within 0 and 1, where either end may be excluded."""
    wrong = f"is not within 0 and 1{'' if zero else ', and above 0'}{'' if one else ', and less than 1'}"
    return lambda value: (
        None if is_number(value) and 0 <= value <= 1 and (zero or value > 0) and (one or value < 1) else wrong
    )


def choice(*choices: str) -> Check:
    """Return a check for one of some words."""
    return lambda value: None if isinstance(value, str) and value in choices else f"is not one of {list(choices)}"


def text(value: Any) -> str | None:
    """Check a word or a sentence."""
    return None if isinstance(value, str) and value.strip() else "is not a text: write it in quotation marks"


def path(value: Any) -> str | None:
    """Check the name of a file or a folder; the command line makes a number of one that looks like a number."""
    if is_number(value):
        return f"is a number to the command line: write ./{value}"
    given = isinstance(value, (str, os.PathLike)) and str(value).strip()
    return None if given and "\0" not in str(value) else "is not the path of a file or folder"


def root(value: Any) -> str | None:
    """Check the name of the bundle's root, which may be a whole number: the configs take it as text."""
    return None if is_whole(value) else path(value)


def device(value: Any) -> str | None:
    """Check that this machine has a device."""
    wrong = "is not a device of this machine: give cpu, cuda:0 or the like"
    try:
        return wrong if torch.empty(0, device=value).is_meta else None
    except (RuntimeError, TypeError, ValueError, AssertionError):  # AssertionError: PyTorch was built without CUDA
        return wrong


def optional(check: Check) -> Check:
    """Return a check that also accepts null."""
    return lambda value: None if to_optional(value) is None else check(value)


def either(*checks: Check) -> Check:
    """Return a check for values that one of some checks accepts; the first states what is wrong."""

    def check(value: Any) -> str | None:
        problems = [one(value) for one in checks]
        return problems[0] if None not in problems else None

    return check


def each(check: Check, of: str, least: int = 1, unique: bool = False) -> Check:
    """Return a check for lists of at least `least` entries, of which each is valid; `of` says what they are."""

    def check_list(value: Any) -> str | None:
        good = is_list(value) and len(value) >= least and not any(check(one) for one in value)
        if good and unique and len(set(value)) < len(value):
            return "names one twice: name each once"
        return None if good else f"is not a list of {of}: write it as \"['first','second']\""

    return check_list


def one_or_each(check: Check) -> Check:
    """Return a check for a value, or for a mapping of such values, by modality for example."""

    def check_all(value: Any) -> str | None:
        if not isinstance(value, Mapping):
            return check(value)
        wrong = [one for one in value.values() if check(one)]
        return f"is wrong: {wrong[0]!r} {check(wrong[0])}" if wrong else None if value else "is empty"

    return check_all


def entries(checks: Mapping[str, Check], needed: bool = True) -> Check:
    """Return a check for mappings whose entries have these names, all of them where `needed`."""

    def check_entries(value: Any) -> str | None:
        if not isinstance(value, Mapping) or set(value) - set(checks) or (needed and set(checks) - set(value)):
            return f"is not a mapping with {'' if needed else 'some of '}the entries {list(checks)}"
        wrong = [name for name in value if checks[name](value[name])]
        return f"is wrong: {wrong[0]} {checks[wrong[0]](value[wrong[0]])}" if wrong else None

    return check_entries
