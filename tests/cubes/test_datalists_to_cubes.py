# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from public_sets import write_brats2018, write_lits2017, write_luna2016, write_msd_heart

from universal_model_components.cubes.store import CubeDataset, case_records, read_index
from universal_model_components.datalists.leakage import check
from universal_model_components.datalists.public.brats2018 import brats2018
from universal_model_components.datalists.public.lits2017 import lits2017
from universal_model_components.datalists.public.luna2016 import luna2016
from universal_model_components.datalists.public.msd_heart import msd_heart
from universal_model_components.datalists.request import LICENSES
from universal_model_components.method.genesis import GenesisCorruption
from universal_model_components.weights.provenance import pretraining_provenance

SHAPE = (32, 28, 24)
SMALL = {"patch_size": [16, 16, 8], "cubes_per_volume": {"large": 1, "medium": 1, "small": 2}, "minimum_crop": 3}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, bundles):
    """The paper's four source sets in miniature, through `datalist` and prepare.json into one store."""
    root = tmp_path_factory.mktemp("sources")
    scans = write_luna2016(root / "luna2016", folds=(0, 1, 2, 7), shape=SHAPE)
    write_lits2017(root / "lits2017", range(4), shape=SHAPE)
    write_brats2018(root / "brats2018", 2, 2, shape=SHAPE)
    write_msd_heart(root / "msd_heart", 2, 1, shape=SHAPE)
    files = []
    for command in (luna2016, lits2017, brats2018, msd_heart):
        files.append(str(root / f"{command.__name__}.json"))
        command(str(root / command.__name__), files[-1], allow_partial=True, num_workers=0)
    first = json.loads((root / "luna2016.json").read_text())["training"][0]["image"]
    broken = next(scan for scan in scans if scan.seriesuid in first)
    broken.file.with_suffix(".raw").write_bytes(b"\0" * 100)  # after its datalist was made
    parser = ConfigParser()
    parser.read_config(str(bundles / "universal_model_pretraining" / "configs" / "prepare.json"))
    for key, value in {**SMALL, "bundle_root": str(root), "datalist": files, "num_workers": 0}.items():
        parser[key] = value
    parser.get_parsed_content("run")
    return root, files, broken


def test_training_and_validation_cases_become_cubes_and_test_cases_do_not(prepared):
    root, files, broken = prepared
    lists = [json.loads(Path(file).read_text()) for file in files]
    for split in ("training", "validation"):
        expected = {case["case"] for content in lists for case in content[split]} - {f"luna2016/{broken.seriesuid}"}
        records = case_records(root / "cubes", split, ["ct", "mri"])
        assert {record["case"] for record in records} == expected
        cubes = CubeDataset(records, SMALL["patch_size"])
        assert cubes[0]["image"].shape == (1, 16, 16, 8)
        assert 0 <= float(cubes[0]["image"].min()) < float(cubes[0]["image"].max()) <= 1
    sets = {record["case"].split("/")[0] for record in case_records(root / "cubes", "training", ["ct", "mri"])}
    assert sets == {"luna2016", "lits2017", "brats2018", "msd_heart"}


def test_a_member_that_broke_later_is_named_by_prepare_and_costs_no_other(prepared):
    root, _, broken = prepared
    problems = json.loads((root / "cubes" / "store.json").read_text())["problems"]
    assert len(problems) == 1
    assert problems[0].startswith(f"{broken.file}: ")


def test_the_four_lists_leak_nothing(prepared):
    check(*prepared[1], num_workers=0)


def test_the_provenance_of_weights_will_name_sets_licenses_and_cases(prepared):
    root, files, _ = prepared
    settings = {"features": [4, 8], "modalities": ["ct", "mri"], "seed": 0}
    provenance = pretraining_provenance(read_index(root / "cubes"), GenesisCorruption(), settings)
    lists = {content["name"]: content for content in (json.loads(Path(file).read_text()) for file in files)}
    assert provenance["data"].keys() == lists.keys()
    for name, entry in provenance["data"].items():
        assert entry["license"] == lists[name]["license"] == LICENSES[name]
        kept = sum(len(lists[name][split]) for split in ("training", "validation")) - (name == "luna2016")
        assert sum(count for splits in entry["cases"].values() for count in splits.values()) == kept
