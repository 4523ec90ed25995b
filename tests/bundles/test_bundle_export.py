# SPDX-License-Identifier: Apache-2.0
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

import universal_model_components
from universal_model_components.method.models import UniversalModel

FEATURES = [4, 8, 16, 32]
SHAPE = [1, 1, 16, 16, 16]
SCHEMA = REPOSITORY / "tests" / "data" / "meta_schema_20240725.json"


@pytest.fixture
def bundle(bundles) -> Path:
    return bundles / "universal_model_pretraining"


@pytest.fixture
def configs(bundle) -> dict[str, str]:
    """The two files that MONAI's tools ask for."""
    return {"meta_file": str(bundle / "configs/metadata.json"), "config_file": str(bundle / "configs/inference.json")}


@pytest.fixture
def network() -> UniversalModel:
    torch.manual_seed(11)
    return UniversalModel(features=FEATURES).eval()


@pytest.fixture
def weights(network, tmp_path) -> str:
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return str(tmp_path / "model.pt")


def test_network_is_what_the_metadata_say(configs, bundle):
    verify_net_in_out("network_def", device="cpu", features=FEATURES, **configs)
    parser = ConfigParser(json.loads((bundle / "configs/metadata.json").read_text()))
    described = parser["network_data_format::outputs::pred"]
    output = UniversalModel(features=FEATURES).eval()(torch.rand(1, 1, *described["spatial_shape"]))
    low, high = described["value_range"]
    assert list(output.shape[2:]) == described["spatial_shape"]
    assert low <= float(output.min())
    assert float(output.max()) <= high


def test_torchscript_export_answers_as_the_network(configs, network, weights, tmp_path, generator):
    settings = {"bundle_root": str(tmp_path), "features": FEATURES, "ckpt_file": weights}
    ckpt_export("network_def", str(tmp_path / "model.ts"), **settings, **configs)
    exported, metadata, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    cubes = torch.rand(SHAPE, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(exported.eval()(cubes), network(cubes))
    assert metadata["version"] == "0.1.0"
    assert "network_def" in json.loads(extra["inference.json"])


def test_onnx_export_answers_as_the_network(configs, network, weights, tmp_path, generator):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    file = str(tmp_path / "model.onnx")
    settings = {"ckpt_file": weights, "features": FEATURES, "input_shape": SHAPE}
    onnx_export("network_def", file, **settings, **configs)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    cubes = torch.rand(SHAPE, generator=generator)
    (answer,) = session.run(None, {session.get_inputs()[0].name: cubes.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(answer), network(cubes), atol=1e-5, rtol=1e-4)


def test_metadata_follow_the_schema(configs, tmp_path):
    schema = Path(shutil.copy(SCHEMA, tmp_path))  # where MONAI would download it to
    verify_metadata(configs["meta_file"], str(schema))


def test_metadata_name_this_version(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    packages = metadata["required_packages_version"]
    assert packages["universal-model-components"] == universal_model_components.__version__
    assert metadata["version"] in metadata["changelog"]
    assert all(re.fullmatch(r"\d+\.\d+(\.\d+)*", version) for version in packages.values())


@pytest.mark.parametrize("name", ["prepare", "train", "evaluate", "inference", "multi_gpu_train"])
def test_bundle_is_complete(name, bundle):
    content = json.loads((bundle / f"configs/{name}.json").read_text())
    assert "run" in content or name == "multi_gpu_train"
    for file in ("LICENSE", "large_files.yml", "configs/logging.conf", "docs/data_license.txt"):
        assert (bundle / file).is_file()
    assert ConfigParser.load_config_file(str(bundle / "large_files.yml")) == {"large_files": []}
