# SPDX-License-Identifier: Apache-2.0
"""The paper's four pre-training sets, in miniature, all the way from their folders to one store."""

from __future__ import annotations

import json

import h5py
import pytest
from public_sets import write_brats2018, write_lits2017, write_luna2016, write_msd_heart
from scan_files import SMALL

from universal_model_components.cubes.preparation import prepare_cubes
from universal_model_components.cubes.store import CubeDataset, case_records
from universal_model_components.datalists.public.brats2018 import brats2018
from universal_model_components.datalists.public.lits2017 import lits2017
from universal_model_components.datalists.public.luna2016 import luna2016
from universal_model_components.datalists.public.msd_heart import msd_heart
from universal_model_components.evaluation.store_report import write_store_report
from universal_model_components.evaluation.table_one import TABLE_ONE
from universal_model_components.imaging.hdf5 import case_file
from universal_model_components.imaging.scan_files import content_hash

COMMANDS = (luna2016, lits2017, brats2018, msd_heart)


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """The datalists' files; nothing but their number of scans is smaller than the paper's."""
    root = tmp_path_factory.mktemp("sets")
    write_luna2016(root / "luna2016")
    write_lits2017(root / "lits2017", range(130 - 20, 130))
    write_brats2018(root / "brats2018")
    write_msd_heart(root / "msd_heart", 3, 2)
    files = {command.__name__: root / f"{command.__name__}.json" for command in COMMANDS}
    for command in COMMANDS:
        target = files[command.__name__]
        command(str(root / command.__name__), str(target), allow_partial=True, num_workers=0)
    return files


def test_from_the_folders_of_four_sets_to_one_store(lists, tmp_path, capsys):
    listed = {name: json.loads(file.read_text()) for name, file in lists.items()}
    assert set(listed) == set(TABLE_ONE)
    assert [listed[name]["name"] for name in lists] == list(lists)  # the names by which Table I knows the sets
    bad = listed["lits2017"]["training"][0]
    scan = lists["lits2017"].parent / "lits2017" / bad["image"]
    scan.write_bytes(scan.read_bytes()[:400])
    files, recipe = [str(file) for file in lists.values()], {**SMALL, "minimum_crop": 2}
    index = prepare_cubes(
        None, str(tmp_path / "cubes"), recipe=recipe, datalist=files, num_workers=0, report=write_store_report
    )
    assert [line.split(":")[0] for line in index["problems"]] == [str(scan)]
    assert f"wrong: {scan}: unreadable or truncated" in capsys.readouterr().out
    made = {case["case"]: case for split in index["splits"].values() for case in split}
    wanted = {c["case"] for content in listed.values() for s in ("training", "validation") for c in content[s]}
    assert set(made) == wanted - {bad["case"]}
    assert not {case["case"] for content in listed.values() for case in content.get("test", [])} & set(made)
    per_volume = {case["set"]: case["counts"] for case in made.values()}
    assert per_volume == {"luna2016": [2, 2, 4], "lits2017": [4, 4, 8], "brats2018": [2, 2, 4], "msd_heart": [4, 4, 8]}
    assert len(CubeDataset(case_records(tmp_path / "cubes", "training", ["ct", "mri"]), SMALL["patch_size"])) > 100
    first = listed["luna2016"]["training"][0]
    with h5py.File(case_file(tmp_path / "cubes", first["case"])) as stored:
        assert stored.attrs["set"] == "luna2016"
        assert stored.attrs["sha256"] == content_hash(lists["luna2016"].parent / "luna2016" / first["image"])
    assert "luna2016, paper" in (tmp_path / "cubes" / "report.html").read_text()
