# SPDX-License-Identifier: Apache-2.0
"""Conversion of command-line values to what the code expects: booleans and nulls.

`python -m monai.bundle run` passes overrides through python-fire, which leaves lower-case `true`, `false` and `null` as
strings; `bool("false")` is True. Each key is converted once, here, where it is read.
"""

from __future__ import annotations

from typing import Any

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def to_bool(value: Any, key: str) -> bool:
    """Read a boolean setting.

    Args:
        value: True, False, 0, 1 or one of the strings true, false, yes, no, on, off, 1, 0 in any case.
        key: name of the setting, for the message.

    Raises:
        ValueError: when the value is none of these.
    """
    text = str(value).strip().lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f"{key}: {value!r} is not a boolean: give true or false")


def to_optional(value: Any) -> Any:
    """Return None for None, "null", "none" and "", any other value unchanged (`--groups null` arrives as a string)."""
    return None if isinstance(value, str) and value.strip().lower() in ("", "null", "none") else value


def plain(value: Any) -> Any:
    """Return True for "true", "yes" and "on", False for their opposites, None for "null", any other value unchanged."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return word in TRUE if word in (TRUE + FALSE) and not word.isdigit() else to_optional(value)
