# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from luna import write_datalist, write_luna16
from task_bundles import FEATURES, rows

SCRIPT = REPOSITORY / "scripts" / "cross_validate.py"


@pytest.fixture(scope="module")
def deal():
    spec = importlib.util.spec_from_file_location("cross_validate", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.deal


def test_patients_stay_whole_and_classes_are_shared_out(deal):
    entries = [{"case": str(n), "group": str(n // 2), "label": int(n < 8)} for n in range(24)]
    folds = deal(entries, 4, 0)
    assert sorted(entry["case"] for fold in folds for entry in fold) == sorted(entry["case"] for entry in entries)
    assert [sum(entry["label"] for entry in fold) for fold in folds] == [2] * 4
    assert all(len({entry["group"] for entry in fold}) * 2 == len(fold) for fold in folds)
    with pytest.raises(SystemExit, match="folds: 5 is more than the 4 patients of class 1: give fewer"):
        deal(entries, 5, 0)


def test_scans_with_candidates_are_cross_validated(tmp_path):
    """Every candidate is tested once, by a network that has not seen its scan."""
    datalist = write_datalist(tmp_path, write_luna16(tmp_path, scans=4), [], [])
    line = [sys.executable, str(SCRIPT), str(REPOSITORY / "bundles" / "lung_nodule_ct_classification"), str(datalist)]
    line += ["--dataset_dir", str(tmp_path), "--output", str(tmp_path / "cv"), "--folds", "2", "--", "--epochs", "1"]
    line += ["--features", str(FEATURES), "--patch_size", "[8,8,8]", "--batch_size", "4", "--num_workers", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    found = rows(tmp_path / "cv" / "cross_validation.csv")
    assert len(found) == len({(row["case"], row["coordX"]) for row in found}) == 20
    for k in range(2):
        lists = json.loads((tmp_path / "cv" / f"fold_{k}" / "datalist.json").read_text())
        assert {row["case"] for row in found if row["fold"] == str(k)} == {one["case"] for one in lists["test"]}
        assert not {one["case"] for one in lists["test"]} & {one["case"] for one in lists["training"]}
