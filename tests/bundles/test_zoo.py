# SPDX-License-Identifier: Apache-2.0
"""Every committed bundle is one that the Model Zoo would take, and a damaged one is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from integration import zoo
from integration.copies import with_weights

FEATURES = [4, 8, 16, 32]
BUNDLES = sorted(folder.name for folder in (REPOSITORY / "bundles").iterdir() if (folder / "configs").is_dir())
SCHEMA = REPOSITORY / "tests" / "data" / "meta_schema_20240725.json"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory, bundles) -> Callable[[str], Path]:
    """Copies of the bundles with a narrow network's first weights, made once each."""
    folder, made = tmp_path_factory.mktemp("zoo"), {}

    def copy(name: str) -> Path:
        if name not in made:
            made[name] = with_weights(bundles / name, folder, features=FEATURES)
        return made[name]

    return copy


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle_conforms(name, narrow):
    """The schema is checked where its file is, TorchScript by `make test-zoo`."""
    assert zoo.problems(narrow(name), SCHEMA, export=False) == []


@pytest.mark.parametrize("name", BUNDLES)
def test_required_packages_are_pinned_as_tested(name, bundles):
    pins = dict.fromkeys(
        line.split(";")[0].strip() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    )
    metadata = json.loads((bundles / name / "configs/metadata.json").read_text())
    packages = metadata["required_packages_version"].items()
    assert [f"{package}=={version}" for package, version in packages if f"{package}=={version}" not in pins] == [
        f"universal-model-components=={metadata['required_packages_version']['universal-model-components']}"
    ]


def change(file: str, **values: object) -> Callable[[Path], None]:
    """Return what sets top-level keys of a JSON file, or removes those that are None."""

    def damage(bundle: Path) -> None:
        content = json.loads((bundle / file).read_text()) | values
        (bundle / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return damage


def widen_input(bundle: Path) -> None:
    file = bundle / "configs/metadata.json"
    file.write_text(file.read_text().replace('"num_channels": 1', '"num_channels": 2', 1))


def wrap_weights(bundle: Path) -> None:
    file = bundle / "models/model.pt"
    torch.save({"model": torch.load(file, weights_only=True), "epoch": 3}, file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda bundle: (bundle / "LICENSE").unlink(), "LICENSE: no such file"),
        (lambda bundle: (bundle / "models/model.pt").unlink(), "models/model.pt: no such file"),
        (change("configs/metadata.json", version="9.9.9"), "'9.9.9' is not in the changelog"),
        (change("configs/metadata.json", version=None), "no key 'version'"),
        (change("configs/metadata.json", task=None), "no key 'task'"),
        (change("configs/metadata.json", required_packages_version={"no-such-package": "1.0"}), "is not installed"),
        (change("configs/inference.json", inferer=None), "inference.json: no key 'inferer'"),
        (change("configs/inference.json", features=[8, 16, 32, 64]), "model.pt: "),
        (widen_input, "shape: "),
        (wrap_weights, "weight: ValueError"),
    ],
)
def test_damaged_bundle_is_refused(damage, message, narrow, tmp_path):
    bundle = shutil.copytree(narrow("universal_model_pretraining"), tmp_path / "bundle")
    damage(bundle)
    assert any(message in line for line in zoo.problems(bundle, export=False)), message
