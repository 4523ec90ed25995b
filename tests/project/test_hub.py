# SPDX-License-Identifier: Apache-2.0
"""Packaged bundles on a Hugging Face Hub on loopback: pushed and downloaded by MONAI with the real client."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from hub import serve_hub
from huggingface_hub import ModelCard
from task_bundles import BUNDLES, FEATURES, PRETRAINING

from universal_model_components.method.models import SegmentationModel, UniversalModel
from universal_model_components.weights.loading import load_pretrained
from universal_model_components.weights.provenance import complete, write_weights

# one process, because each would import PyTorch and MONAI again; a module's run is what `python -m` does
PROGRAM = """
import json, runpy, sys
for arguments in json.load(sys.stdin):
    module, *rest = arguments
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=False)
"""


def documented(*names: str) -> list[list[str]]:
    """The arguments after `python -m` of docs/weights.md's three commands, for bundles of these names."""
    text = (REPOSITORY / "docs" / "weights.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python -m (.+(?:push_to_hf_hub|--source huggingface_hub|ZOO) .+)$", text, re.MULTILINE)
    assert len(lines) == 3
    return [shlex.split(line.replace("BUNDLE", name).replace("OWNER", "MONAI")) for name in names for line in lines]


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents by path; the client's own `.cache` is left out."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """All bundles packaged, one with weights, pushed, and downloaded in both ways; the folder, and what was asked."""
    folder = tmp_path_factory.mktemp("exchange")
    state = UniversalModel(features=FEATURES).state_dict()
    provenance = complete({"method": "test", "features": FEATURES}, state)
    for name in ("model.pt", "model.safetensors"):
        write_weights(folder / "weights" / PRETRAINING / name, state, provenance)
    spec = importlib.util.spec_from_file_location("package_bundles", REPOSITORY / "scripts" / "package_bundles.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.package("http://example.org", str(folder / "dist"), weights=str(folder / "weights"))
    with serve_hub() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": "hf_test"}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
        commands = json.dumps(documented(*BUNDLES))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=commands,
            cwd=folder,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, hub


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_is_downloaded_as_it_was_packaged(name, exchanged):
    folder, hub = exchanged
    packaged = files_of(folder / "dist" / "hub" / name)
    assert {"configs/metadata.json", "configs/inference.json", "LICENSE", "large_files.yml"} < packaged.keys()
    assert files_of(folder / "DOWNLOADS" / name) == packaged  # the source huggingface_hub
    assert files_of(folder / "ZOO" / name) == packaged  # the default source
    repository = hub.repositories[f"MONAI/{name}"]
    assert repository.tags == dict.fromkeys(("0.1.0", "latest_version"), repository.branches["main"])


@pytest.mark.parametrize("name", BUNDLES)
def test_a_repositorys_readme_is_the_model_card_without_links_into_this_project(name, exchanged):
    readme = (exchanged[0] / "DOWNLOADS" / name / "README.md").read_text(encoding="utf-8")
    assert ModelCard(readme).data.library_name == "monai"  # the model card's header, not MONAI's
    assert "\n## Metrics\n" in readme
    assert ("None are released" in readme) == (name != PRETRAINING)
    assert "python -m monai.bundle run" in readme
    assert not re.findall(r"\]\((?!https?:|#)", readme)


def test_the_downloaded_weights_load(exchanged):
    model = exchanged[0] / "DOWNLOADS" / PRETRAINING / "models" / "model.pt"
    coverage = load_pretrained(SegmentationModel(features=FEATURES), model)
    assert (coverage["encoder"].share, coverage["decoder"].share) == (1.0, 1.0)
    assert f"POST /MONAI/{PRETRAINING}.git/info/lfs/objects/batch" in exchanged[1].requests
