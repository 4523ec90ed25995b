# SPDX-License-Identifier: Apache-2.0
"""What every bundle must be, whatever its kind: complete, described, and readable by MONAI's own tools."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out
from task_bundles import BUNDLES, FEATURES, PRETRAINING, network_of, tool_files

import universal_model_components
from universal_model_components import ClassificationModel, SegmentationModel, UniversalModel

SCHEMA = REPOSITORY / "tests" / "data" / "meta_schema_20240725.json"
FILES = ("LICENSE", "large_files.yml", "configs/logging.conf", "docs/README.md", "docs/data_license.txt", "models")
KINDS = {"pretraining": UniversalModel, "segmentation": SegmentationModel, "classification": ClassificationModel}
CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train", "metadata")


@pytest.fixture(params=BUNDLES)
def bundle(request, bundles) -> Path:
    return bundles / request.param


def test_bundle_is_complete(bundle):
    for name in [*CONFIGS, *(["prepare"] if bundle.name == PRETRAINING else [])]:
        content = json.loads((bundle / f"configs/{name}.json").read_text())
        assert "run" in content or name in ("multi_gpu_train", "metadata")
    for file in FILES:
        assert (bundle / file).exists(), file
    assert ConfigParser.load_config_file(str(bundle / "large_files.yml")) == {"large_files": []}
    assert "<part>" not in (bundle / "configs/metadata.json").read_text()


@pytest.mark.parametrize(
    ("configs", "engine", "network"),
    [[("train", "evaluate"), "validate::evaluator", "@placed_network"], [("inference",), "evaluator", "@network"]],
)
def test_engines_that_train_nothing_place_their_network(bundle, configs, engine, network):
    """MONAI's evaluators move no network: on a GPU, one that stays where it was made would meet inputs elsewhere."""
    if bundle.name == PRETRAINING and "evaluate" in configs:
        pytest.skip("its evaluation is a class of its own, which moves the network")
    parser = ConfigParser()
    parser.read_config([str(bundle / f"configs/{name}.json") for name in configs])
    assert parser[f"{engine}::network"] == network
    assert "@device" in parser[network[1:]]


def test_network_is_what_the_metadata_say(bundle):
    verify_net_in_out("network_def", device="cpu", features=FEATURES, **tool_files(bundle))
    parser = ConfigParser(json.loads((bundle / "configs/metadata.json").read_text()))
    shape = parser["network_data_format::inputs::image::spatial_shape"]
    described = parser["network_data_format::outputs::pred"]
    network = network_of(bundle)
    assert type(network) is KINDS[bundle.name.rsplit("_", 1)[1]]
    with torch.no_grad():
        output = network(torch.rand(1, 1, *shape))
    assert list(output.shape[2:]) == described["spatial_shape"]
    low, high = described["value_range"] or (-torch.inf, torch.inf)  # logits have none
    assert low <= float(output.min())
    assert float(output.max()) <= high


def test_metadata_follow_the_schema(bundle, tmp_path):
    meta_file = tool_files(bundle)["meta_file"]
    verify_metadata(meta_file, str(shutil.copy(SCHEMA, tmp_path)))  # where MONAI would download it to


def test_metadata_name_this_version(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    packages = metadata["required_packages_version"]
    assert packages["universal-model-components"] == universal_model_components.__version__
    assert metadata["version"] in metadata["changelog"]
    assert all(re.fullmatch(r"\d+\.\d+(\.\d+)*", version) for version in packages.values())
