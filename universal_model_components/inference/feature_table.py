# SPDX-License-Identifier: Apache-2.0
"""A table of features in a CSV or Parquet file, and which of its columns say nothing."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import write_atomically, write_text

SUFFIXES = (".csv", ".parquet")


def feature_names(widths: Sequence[int]) -> list[str]:
    """Name the features of an encoder, level by level: level1_000, level1_001, …

    Args:
        widths: channels of each level, finest first.
    """
    return [f"level{depth}_{channel:03d}" for depth, width in enumerate(widths, start=1) for channel in range(width)]


def check_output(file: Path) -> None:
    """Check that a table can be written in the format of the file's suffix.

    Raises:
        ValueError: when the suffix is another, or Parquet needs a package that is not installed.
    """
    if file.suffix not in SUFFIXES:
        raise ValueError(f"output: {file} ends in {file.suffix or 'nothing'}: give a .csv or .parquet")
    if file.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"output: {file} needs pyarrow, which is not installed: pip install pyarrow, or give a .csv")


def write_table(file: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Write columns of equal length, atomically; None is an empty cell.

    Args:
        file: .csv, whose numbers have the digits that restore them, or .parquet, which keeps their types.
        columns: by name.

    Raises:
        ValueError: as `check_output`.
        OSError: when it cannot be written; an existing file is kept.
    """
    check_output(file)
    if file.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table(dict(columns))
        write_atomically(file, lambda path: parquet.write_table(table, path))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_text(file, text.getvalue())


def constant_features(features: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the names of features that are the same in every row; none for fewer than two rows.

    Shape:
        features (rows, len(names)).
    """
    if len(features) < 2:
        return []
    return [names[place] for place in np.flatnonzero(np.ptp(features, axis=0) == 0).tolist()]
