# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import pytest

from universal_model_components.evaluation.writing import unusable_of, write_evaluation
from universal_model_components.imaging.unusable import Unusable


def test_a_table_and_a_summary_are_written(tmp_path):
    rows = [{"case": "a", "iou": 0.5}, {"case": 'b,"c"', "iou": None}, {"case": "d"}]
    write_evaluation(tmp_path / "out", ["case", "iou"], rows, {"split": "test", "cases": 2})
    assert (tmp_path / "out/evaluation.csv").read_text() == 'case,iou\na,0.5\n"b,""c""",\nd,\n'
    assert (tmp_path / "out/evaluation.json").read_text() == '{\n  "split": "test",\n  "cases": 2\n}\n'
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(("row", "value"), [({"case": "a", "other": 1}, 1.0), ({"case": "a"}, float("nan"))])
def test_what_makes_no_report_leaves_the_old_one(row, value, tmp_path):
    write_evaluation(tmp_path, ["case"], [{"case": "old"}], {"iou": 0.1})
    before = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    with pytest.raises(ValueError, match=r"fields not in fieldnames|not JSON compliant"):
        write_evaluation(tmp_path, ["case"], [row], {"iou": value})
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == before


def test_cases_that_cannot_be_used_are_taken_from_the_source():
    gone = Unusable("a", "a.nii: no such file")
    assert unusable_of(None, 1, "test") == []
    assert unusable_of(SimpleNamespace(problems=[gone]), 1, "test") == [gone]
    with pytest.raises(ValueError, match=r"^1 of 1 cases cannot be used: a\.nii: no such file"):
        unusable_of(SimpleNamespace(problems=[gone]), 0, "test")
    with pytest.raises(ValueError, match=r"^no case in 'test'"):
        unusable_of(None, 0, "test")
