# SPDX-License-Identifier: Apache-2.0
"""A check of `doctor` survives whatever it is given: an error that it did not foresee is one more finding."""

from __future__ import annotations

from collections.abc import Iterator

from ..tasks.findings import ERROR, Finding
from ..utils.errors import root_cause, user_error


def survive(what: str, check: Iterator[Finding]) -> Iterator[Finding]:
    """Yield a check's findings, and one for the error that ends it, such as of a list in place of a mapping.

    Args:
        what: the part of the setup that is checked, for that finding.
        check: yields findings.
    """
    try:
        yield from check
    except Exception as error:  # whatever a config may hold
        yield Finding(ERROR, f"{what}: cannot be checked ({reason_of(error)}): correct it, or fetch the bundle again")


def reason_of(error: BaseException) -> str:
    """Return the user error, or any other error that MONAI's parser has wrapped, in one line."""
    cause = root_cause(error)
    return user_error(error) or " ".join(str(cause).split())[:300] or type(cause).__name__
