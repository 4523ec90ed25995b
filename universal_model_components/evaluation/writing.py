# SPDX-License-Identifier: Apache-2.0
"""The two files that every evaluation writes: evaluation.csv, one row per measured item, and evaluation.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
