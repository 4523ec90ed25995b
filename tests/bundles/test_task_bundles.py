# SPDX-License-Identifier: Apache-2.0
"""What every task bundle must be, whatever its kind: complete, described, and readable by MONAI's own tools."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from monai.bundle import ConfigParser, ckpt_export, onnx_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata
from task_bundles import FEATURES, TASKS

import universal_model_components

SCHEMA = REPOSITORY / "tests" / "data" / "meta_schema_20240725.json"
FILES = ("LICENSE", "large_files.yml", "configs/logging.conf", "docs/README.md", "docs/data_license.txt", "models")
CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train", "metadata")
SHAPE = [1, 1, 16, 16, 16]


@pytest.fixture(params=sorted(TASKS))
def bundle(request, bundles) -> Path:
    return bundles / request.param


@pytest.fixture
def configs(bundle) -> dict[str, str]:
    """The two files that MONAI's tools ask for."""
    return {"meta_file": str(bundle / "configs/metadata.json"), "config_file": str(bundle / "configs/inference.json")}


@pytest.fixture
def network(configs):
    """The bundle's own network, narrow, with weights that are not those of any other."""
    parser = ConfigParser()
    parser.read_config(configs["config_file"])
    parser["features"] = FEATURES
    torch.manual_seed(11)
    return parser.get_parsed_content("network_def").eval()


@pytest.fixture
def weights(network, tmp_path) -> str:
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return str(tmp_path / "model.pt")


def test_bundle_is_complete(bundle):
    for name in CONFIGS:
        json.loads((bundle / f"configs/{name}.json").read_text())
    for file in FILES:
        assert (bundle / file).exists(), file
    assert ConfigParser.load_config_file(str(bundle / "large_files.yml")) == {"large_files": []}
    assert "<part>" not in (bundle / "configs/metadata.json").read_text()


def test_network_is_what_the_metadata_say(configs):
    verify_net_in_out("network_def", device="cpu", features=FEATURES, **configs)


def test_metadata_follow_the_schema(configs, tmp_path):
    verify_metadata(configs["meta_file"], str(shutil.copy(SCHEMA, tmp_path)))  # where MONAI would download it to


def test_metadata_name_this_version(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    packages = metadata["required_packages_version"]
    assert packages["universal-model-components"] == universal_model_components.__version__
    assert metadata["version"] in metadata["changelog"]
    assert all(re.fullmatch(r"\d+\.\d+(\.\d+)*", version) for version in packages.values())


def test_torchscript_export_answers_as_the_network(configs, network, weights, tmp_path, generator):
    settings = {"bundle_root": str(tmp_path), "features": FEATURES, "ckpt_file": weights}
    ckpt_export("network_def", str(tmp_path / "model.ts"), **settings, **configs)
    exported, _, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    cubes = torch.rand(SHAPE, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(exported.eval()(cubes), network(cubes))
    assert "network_def" in json.loads(extra["inference.json"])


def test_onnx_export_answers_as_the_network(configs, network, weights, tmp_path, generator):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    file = str(tmp_path / "model.onnx")
    onnx_export("network_def", file, ckpt_file=weights, features=FEATURES, input_shape=SHAPE, **configs)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    cubes = torch.rand(SHAPE, generator=generator)
    (answer,) = session.run(None, {session.get_inputs()[0].name: cubes.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(answer), network(cubes), atol=1e-5, rtol=1e-4)
