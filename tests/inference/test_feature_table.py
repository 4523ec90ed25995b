# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
from user_errors import raises_user_error

from universal_model_components.inference.feature_table import (
    check_output,
    constant_features,
    feature_names,
    write_table,
)


def test_names_sort_as_levels_and_channels_do():
    names = feature_names([2, 11])
    assert names[:3] == ["level1_000", "level1_001", "level2_000"]
    assert sorted(names) == names
    assert len(set(names)) == 13


def test_features_that_never_vary():
    features = np.array([[0, 1, 2], [0, 1, 3], [0, 1.5, 2]], np.float32)
    assert constant_features(features, ["a", "b", "c"]) == ["a"]
    assert constant_features(features[:1], ["a", "b", "c"]) == []


def test_a_csv_restores_every_number(tmp_path, generator):
    values = np.random.default_rng(0).random(3).astype(np.float32)
    write_table(tmp_path / "a.csv", {"image": ["a", "b,c", "d"], "x": [None, 0.1, 2.0], "level1_000": values})
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == ["a", "b,c", "d"]
    assert [row["x"] for row in rows] == ["", "0.1", "2.0"]
    assert np.array_equal(np.array([row["level1_000"] for row in rows], np.float32), values)


def test_parquet_keeps_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    values = np.array([0.25, 0.1], np.float32)
    write_table(tmp_path / "a.parquet", {"image": ["a", "b"], "x": [None, 0.1], "level1_000": values})
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table["x"].to_pylist() == [None, 0.1]
    assert table["level1_000"].to_numpy().dtype == np.float32
    assert np.array_equal(table["level1_000"].to_numpy(), values)


def test_another_format_is_one_line(tmp_path, monkeypatch):
    for name, found in (("a.xlsx", "ends in .xlsx"), ("a", "ends in nothing")):
        with raises_user_error(f"output: .* {found}: give a .csv or .parquet"):
            write_table(tmp_path / name, {"image": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with raises_user_error("output: .*a.parquet needs pyarrow, which is not installed"):
        check_output(tmp_path / "a.parquet")
