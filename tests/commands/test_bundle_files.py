# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil

import pytest

from universal_model_components.commands.bundle_files import CONFIGS, read_configs

NAME = "left_atrium_ct_segmentation"


@pytest.fixture
def bundle(bundles, tmp_path):
    return shutil.copytree(bundles / NAME, tmp_path / NAME)


def test_a_complete_bundle(bundle):
    contents, (finding,) = read_configs(bundle)
    assert set(contents) == {*CONFIGS, "inference_onnx", "systems/i3d", "systems/med3d", "systems/dense_vnet"}
    assert str(finding) == f"ok: bundle: {bundle} is complete"


def test_missing_and_damaged_files_are_named(bundle):
    (bundle / "configs/train.json").unlink()
    (bundle / "configs/multi_gpu_train.json").unlink()
    (bundle / "configs/inference.json").write_text("{")
    (bundle / "LICENSE").unlink()
    contents, findings = read_configs(bundle)
    assert set(contents) & set(CONFIGS) == {"evaluate", "metadata"}
    assert [finding.level for finding in findings] == ["error", "error", "warning", "warning"]
    parts = ("train.json: No such file", "inference.json: not valid JSON", "multi_gpu_train.json: No such", "LICENSE")
    assert all(part in finding.message for part, finding in zip(parts, findings, strict=True))


def test_a_folder_that_does_not_exist(tmp_path):
    contents, (finding,) = read_configs(tmp_path / "none")
    assert contents == {}
    assert str(finding) == f"error: bundle: {tmp_path / 'none'} is not a folder: give one of bundles/"
