# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from scan_files import SMALL, make_dataset

from universal_model_components.cubes.recipe import Recipe
from universal_model_components.cubes.store import CubeDataset, case_records


@pytest.fixture
def config(bundles) -> Path:
    return bundles / "universal_model_pretraining" / "configs" / "prepare.json"


def parse(config, **changes) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(config))
    for key, value in changes.items():
        parser[key] = value
    return parser


def test_defaults_are_the_papers_and_derive_from_the_bundle_root(config):
    parser = parse(config, bundle_root="/some/where")
    assert parser.get_parsed_content("dataset_dir") == str(Path("/some/where/data"))
    assert parser.get_parsed_content("cube_store") == str(Path("/some/where/cubes"))
    settings = parser.get_parsed_content("recipe")
    assert Recipe(**settings).to_dict() == Recipe().to_dict()
    assert all(key in parser for key in settings)  # every setting is a top-level key
    assert all(value == f"@{key}" for key, value in json.loads(config.read_text())["recipe"].items())


def test_plan_from_the_config(config, tmp_path, capsys):
    scans = make_dataset(tmp_path / "scans", 1, 1)
    parser = parse(config, bundle_root=str(tmp_path), dataset_dir=str(scans), plan="True", num_workers=0, **SMALL)
    parser.get_parsed_content("run")
    assert "plan, nothing is written" in capsys.readouterr().out
    assert not (tmp_path / "cubes").exists()


@pytest.mark.slow
def test_run_from_a_foreign_directory(config, tmp_path):
    scans, away = make_dataset(tmp_path / "scans"), tmp_path / "away"
    away.mkdir()
    (scans / "ct" / "broken.nii").write_text("no image")
    changes = {**SMALL, "intensity_range": {"ct": [-1000, 1000], "mri": None}, "num_workers": 1, "strict": "true"}
    overrides = [text for key, value in changes.items() for text in (f"--{key}", str(value))]
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str(config),
        "--bundle_root",
        str(tmp_path),
    ]
    result = subprocess.run(
        [*command, "--dataset_dir", str(scans), *overrides], cwd=away, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stderr
    assert (
        result.stderr.strip().splitlines()[-1]
        == "prepare: 1 problems, listed above, and strict is true: fix or remove them"
    )
    assert f"wrong: {scans / 'ct' / 'broken.nii'}: unreadable or truncated" in result.stdout
    assert not os.listdir(away)
    assert f"report: {tmp_path / 'cubes' / 'report.html'}" in result.stdout
    assert (tmp_path / "cubes" / "report.html").is_file()
    records = case_records(tmp_path / "cubes", "training", ["ct", "mri"])
    dataset = CubeDataset(records, SMALL["patch_size"])
    assert {record["modality"] for record in records} == {"ct", "mri"}
    assert dataset[len(dataset) - 1]["image"].shape == (1, 16, 16, 8)
