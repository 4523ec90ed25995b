# SPDX-License-Identifier: Apache-2.0
"""Cases whose files cannot be used: which error is the file's fault, and one line about many of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..utils.errors import root_cause
from .errors import ScanError, problem_of, scan_error
from .reading import read_scan

logger = logging.getLogger(__name__)

NAMED = 3  # unusable cases that an error names; the log names all


class Unusable(NamedTuple):
    """A case that cannot be used.

    Args:
        case: its id.
        reason: one line: the file, what was found, what to do.
    """

    case: str
    reason: str


def file_problem(sample: Mapping[str, Any], error: Exception, keys: Sequence[str] = ("image", "label")) -> str | None:
    """Return why a sample's files cannot be used, as one line; None when they can, so that the error is a bug.

    Loaders other than `read_scan` raise errors that name no file; each file is then read once more, by `read_scan`.

    Args:
        sample: with the paths of its files.
        error: raised by a transform that read or normalized it.
        keys: of the paths.
    """
    found = scan_error(error)
    files = [sample[key] for key in keys if isinstance(sample.get(key), str)]
    for file in files if found is None else ():
        try:
            read_scan(file)
        except ScanError as reason:
            return str(reason)
    if found is None and files and isinstance(root_cause(error), MemoryError):
        return problem_of(files[0], MemoryError(root_cause(error)))
    return None if found is None else str(found)


def refusal(unusable: Sequence[Unusable], total: int) -> ValueError:
    """Return the error about cases that cannot be used: one line that names the first few; all are logged.

    Args:
        unusable: at least one.
        total: number of all cases.
    """
    reasons = [one.reason for one in unusable]
    for reason in reasons if len(reasons) > NAMED else ():
        logger.warning(reason)
    more = f"; and {len(reasons) - NAMED} more, in the log" if len(reasons) > NAMED else ""
    return ValueError(f"{len(reasons)} of {total} cases cannot be used: {'; '.join(reasons[:NAMED])}{more}")
