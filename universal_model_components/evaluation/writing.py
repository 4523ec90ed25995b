# SPDX-License-Identifier: Apache-2.0
"""The two files that every evaluation writes: evaluation.csv, one row per measured item, and evaluation.json.

Cases whose files cannot be used are in both, with the reason.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..imaging.unusable import Unusable, refusal
from ..utils.files import write_text


def write_evaluation(
    folder: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Write a table and a summary.

    Args:
        folder: for evaluation.csv and evaluation.json.
        columns: of the table, in order.
        rows: by column; missing values and None are left empty.
        summary: content of evaluation.json, in this order.

    Raises:
        ValueError: when a row has another column, or a number of the summary is not finite; nothing is written.
        OSError: when a file cannot be written; an existing file is kept.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    content = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_text(folder / "evaluation.csv", text.getvalue())
    write_text(folder / "evaluation.json", content)


def unusable_of(source: Any, measured: int, split: str) -> list[Unusable]:
    """Return the cases that an evaluation left out because their files cannot be used.

    Args:
        source: of the cases, with a list `problems`; None has none.
        measured: number of items that were measured.
        split: name of the evaluated list, for messages.

    Raises:
        ValueError: when nothing was measured.
    """
    problems = [] if source is None else list(source.problems)
    if measured == 0 and problems:
        raise refusal(problems, len(problems))
    if measured == 0:
        raise ValueError(f"no case in {split!r}: give another split or datalist")
    return problems
