# SPDX-License-Identifier: Apache-2.0
"""NVFLARE's simulator on two sites, by the scripts of docs/examples: part of `make test-fl`."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from integration.environments import NotInstallable, environment, interpreter
from integration.federated import SETTINGS, write_data

from universal_model_components.method.models import SegmentationModel

NAME = "left_atrium_ct_segmentation"


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return interpreter("fl")
    except NotInstallable as error:
        pytest.skip(f"NVFLARE: {error}")


def test_two_sites_average_in_the_simulator(python, bundles, tmp_path):
    for number in (1, 2):
        write_data(NAME, tmp_path / f"data/site-{number}", seed=number)
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    command = [python, REPOSITORY / "docs/examples/nvflare_simulation.py", "--bundle", bundles / NAME]
    command += ["--data", tmp_path / "data", "--workspace", tmp_path / "work", "--settings", tmp_path / "settings.json"]
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
        timeout=580,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    rounds = set(re.findall(r"(site-\d) round (\d)", output))
    assert rounds == {("site-1", "0"), ("site-1", "1"), ("site-2", "0"), ("site-2", "1")}
    (file,) = (tmp_path / "work").rglob("FL_global_model.pt")
    saved = torch.load(file, weights_only=False)  # NVFLARE's own format, written by the line above
    state = {name: torch.as_tensor(value) for name, value in saved["model"].items()}
    SegmentationModel(features=SETTINGS["features"]).load_state_dict(state)
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
