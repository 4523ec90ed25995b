# SPDX-License-Identifier: Apache-2.0
"""The Model Zoo's checks at the bundles' own width, with TorchScript export and the zoo's linters: `make test-zoo`."""

from __future__ import annotations

import shutil

import pytest
from conftest import REPOSITORY
from integration import zoo
from integration.copies import with_weights
from integration.environments import NotInstallable, interpreter

BUNDLES = sorted(folder.name for folder in (REPOSITORY / "bundles").iterdir() if (folder / "configs").is_dir())
SCHEMA = REPOSITORY / "tests" / "data" / "meta_schema_20240725.json"


@pytest.fixture(scope="module")
def linters() -> str:
    try:
        return str(interpreter("zoo"))
    except NotInstallable as error:
        pytest.skip(f"black, isort, flake8: {error}")


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle_conforms(name, bundles, tmp_path):
    bundle = with_weights(bundles / name, tmp_path)
    assert zoo.problems(bundle, SCHEMA) == []


@pytest.mark.parametrize("name", BUNDLES)
def test_metadata_follow_the_schema(name):
    if not SCHEMA.is_file():
        pytest.skip(f"schema of the metadata: no file {SCHEMA}")
    assert zoo.skipped(REPOSITORY / "bundles" / name, SCHEMA, "python") == []


@pytest.mark.parametrize("name", BUNDLES)
def test_shipped_python_is_formatted(name, bundles, linters):
    assert zoo.lint_problems(bundles / name, linters) == []


def test_unformatted_python_is_refused(bundles, tmp_path, linters):
    bundle = shutil.copytree(bundles / BUNDLES[0], tmp_path / "bundle")
    (bundle / "scripts").mkdir()
    (bundle / "scripts/__init__.py").write_text("import sys,os\nx = {  'a':1 }\nl = lambda: undefined_name\n")
    found = zoo.lint_problems(bundle, linters)
    assert [line.split(":")[0] for line in found] == ["black", "isort", "flake8"]
