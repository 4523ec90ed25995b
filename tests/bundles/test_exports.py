# SPDX-License-Identifier: Apache-2.0
"""Every bundle's network as TorchScript and as ONNX: the same answer as the network itself."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from monai.bundle import ckpt_export, onnx_export
from monai.data import load_net_with_metadata
from task_bundles import BUNDLES, FEATURES, network_of, tool_files

from universal_model_components.imaging.normalization import load_scan

PATCH = [32, 32, 16]
OPTIONS = ast.literal_eval(re.search(r'--converter_kwargs "(.*)"', (REPOSITORY / "docs/onnx.md").read_text())[1])
ONNX = {  # MONAI's defaults, and what the command of docs/onnx.md gives
    "default": {"input_shape": [3, 1, *PATCH]},
    "any batch": {"input_shape": [2, 1, *PATCH], "use_trace": True, "converter_kwargs": OPTIONS},
}


@pytest.fixture(params=BUNDLES)
def bundle(request, bundles) -> Path:
    return bundles / request.param


@pytest.fixture
def network(bundle):
    return network_of(bundle)


@pytest.fixture
def weights(network, tmp_path) -> str:
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return str(tmp_path / "model.pt")


@pytest.fixture(scope="module")
def cubes(request) -> torch.Tensor:
    """Three cubes of a real CT where there is one, of noise elsewhere."""
    try:
        folder = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        return torch.rand(3, 1, *PATCH, generator=torch.Generator().manual_seed(3))
    scan = load_scan(folder / "pretraining/ct/abdomen_totalseg.nii.gz", (-1000, 1000), "range", (3, 3, 3))
    volume = scan.volume[None]
    return torch.stack([volume[:, i : i + 32, 30:62, 40:56] for i in (30, 45, 60)])


def test_torchscript_export_answers_as_the_network(bundle, network, weights, tmp_path, cubes):
    settings = {"bundle_root": str(tmp_path), "features": FEATURES, "ckpt_file": weights}
    ckpt_export("network_def", str(tmp_path / "model.ts"), **settings, **tool_files(bundle))
    exported, metadata, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    with torch.no_grad():
        torch.testing.assert_close(exported.eval()(cubes), network(cubes))
    assert metadata["version"] == json.loads((bundle / "configs/metadata.json").read_text())["version"]
    assert "network_def" in json.loads(extra["inference.json"])


@pytest.mark.parametrize("kind", ONNX)
def test_onnx_export_answers_as_the_network(kind, bundle, network, weights, tmp_path, cubes):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from universal_model_components.inference.onnx import OnnxNetwork

    file = str(tmp_path / "model.onnx")
    onnx_export("network_def", file, ckpt_file=weights, features=FEATURES, **ONNX[kind], **tool_files(bundle))
    session = OnnxNetwork(file)
    for batch in (cubes, cubes[:1]) if kind == "any batch" else (cubes,):
        with torch.no_grad():
            torch.testing.assert_close(session(batch), network(batch), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"model\.onnx was exported for .*32, 32, 16.*export it again"):
        session(cubes[..., :8])
