# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from universal_model_components.utils.tables import find_table, read_table


def test_a_table_is_found_as_given_or_below_the_root(tmp_path):
    for place in ("a.csv", "one/b.csv", "one/two/c.csv", "one/two/three/d.csv"):
        (tmp_path / "root" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / place).write_text("x\n")
    root = tmp_path / "root"
    assert find_table(tmp_path, str(root / "a.csv"), "table") == root / "a.csv"
    assert find_table(root, "a.csv", "table") == root / "a.csv"
    assert find_table(root, "b.csv", "table") == root / "one/b.csv"
    assert find_table(root, "c.csv", "table") == root / "one/two/c.csv"
    with pytest.raises(ValueError, match=r"^patients: no d\.csv in .*: download it"):
        find_table(root, "d.csv", "patients")


def test_columns_go_by_any_of_their_names(tmp_path):
    (tmp_path / "a.csv").write_text("PTID,Group\n002_S_0295,AD\n")
    columns = {"subject": ("Subject", "PTID"), "diagnosis": ("Group",)}
    (row,) = read_table(tmp_path / "a.csv", columns, "table")
    assert row == {"subject": "002_S_0295", "diagnosis": "AD"}
    with pytest.raises(ValueError, match=r"table: .*a\.csv has no column image"):
        list(read_table(tmp_path / "a.csv", {**columns, "image": ("image",)}, "table"))
