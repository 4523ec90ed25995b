# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every test module shares."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def generator() -> torch.Generator:
    """The one seeded random number generator of the tests."""
    return torch.Generator().manual_seed(20201)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Networks start from the same weights in every run of the tests."""
    torch.manual_seed(20201)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans; tests that need it are skipped, with the reason, where it is missing."""
    folder = Path(os.environ.get("UNIVERSAL_MODEL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real scans not found at {folder} (set UNIVERSAL_MODEL_DATA to their folder)")
    return folder


@pytest.fixture(scope="session")
def bundles() -> Path:
    """Folder of the committed bundles."""
    return REPOSITORY / "bundles"


@pytest.fixture(scope="session")
def cube_store(tmp_path_factory) -> Path:
    """Store of 16×16×16 cubes of six synthetic scans: two CT and two MRI to train on, one of each held out."""
    from universal_model_components.phantom import write_phantoms

    folder = tmp_path_factory.mktemp("prepared")
    write_phantoms(folder / "scans", 3, seed=0)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file"]
    command += [str(REPOSITORY / "bundles" / "universal_model_pretraining" / "configs" / "prepare.json")]
    command += ["--bundle_root", str(folder), "--dataset_dir", str(folder / "scans"), "--num_workers", "1"]
    command += ["--patch_size", "[16,16,16]", "--cubes_per_volume", "{'large':2,'medium':2,'small':4}"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cubes"
