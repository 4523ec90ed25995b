# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from scan_files import body, write_scan

from universal_model_components.datalists.findings import Findings
from universal_model_components.datalists.making import MaskValues, choose_test, make_datalist
from universal_model_components.datalists.request import Request

SHAPE = (10, 9, 8)


def case(number):
    name = f"p{number}"
    return {
        "image": f"{name}.nii",
        "label": f"{name}_seg.nii",
        "modality": "ct",
        "case": name,
        "group": name,
        "id": f"id{number}",
        "stratum": "a",
    }


@pytest.fixture
def root(tmp_path):
    for number in range(5):
        write_scan(tmp_path / "set" / f"p{number}.nii", body(SHAPE, seed=number))
        write_scan(tmp_path / "set" / f"p{number}_seg.nii", (body(SHAPE, seed=number) > 0).astype(np.uint8))
    return tmp_path / "set"


def test_test_groups_are_drawn_or_read_from_a_file(tmp_path):
    cases, findings = [case(number) for number in range(5)], Findings()
    drawn = choose_test(cases, {"a": (3, 2)}, 0, None, findings)
    assert len(drawn) == 2
    assert drawn == choose_test(cases[::-1], {"a": (3, 2)}, 0, "None", Findings())
    (tmp_path / "ids.txt").write_text("p3\nid1\n\n")
    assert choose_test(cases, {}, 0, str(tmp_path / "ids.txt"), findings) == {"p3", "p1"}
    assert findings.notes == ["test cases drawn by hash with seed 0", f"test cases from {tmp_path / 'ids.txt'}"]
    (tmp_path / "ids.txt").write_text("p9\n")
    with pytest.raises(ValueError, match="'p9' is not a patient here"):
        choose_test(cases, {}, 0, str(tmp_path / "ids.txt"), findings)


def test_a_datalist_is_split_checked_and_written(root, tmp_path, capsys):
    request = Request("own", root, tmp_path / "list.json", num_workers=0)
    values = MaskValues(allowed=(0, 1), required=(1,))
    made = make_datalist(request, [case(n) for n in range(5)], {"p4"}, Findings(), {"a": (4, 1)}, masks=values, more=7)
    assert json.loads((tmp_path / "list.json").read_text()) == json.loads(json.dumps(made))
    assert [len(made[split]) for split in ("training", "validation", "test")] == [3, 1, 1]
    assert made["test"][0]["case"] == "p4"
    assert made["more"] == 7
    assert made["differences"] == made["problems"] == []
    assert "label values found: [0, 1]" in capsys.readouterr().out


def test_labels_that_nobody_documents_are_differences_and_nothing_is_written(root, tmp_path, capsys):
    request = Request("own", root, tmp_path / "list.json", num_workers=0)
    values = MaskValues(allowed=(0,), required=(2,))
    with pytest.raises(ValueError, match=r"datalist own: .* differences, listed above; nothing was written"):
        make_datalist(request, [case(0), case(1)], set(), Findings(), {}, masks=values)
    assert not (tmp_path / "list.json").exists()
    shown = capsys.readouterr().out
    assert "voxels of label 1, documented are [0]" in shown
    assert "no voxel of label 2" in shown
    strays = MaskValues(allowed=(0,), strays=(1,))
    made = make_datalist(request, [case(0), case(1)], set(), Findings(), {}, masks=strays)
    assert made["differences"] == []
