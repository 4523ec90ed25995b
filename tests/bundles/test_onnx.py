# SPDX-License-Identifier: Apache-2.0
"""Every target bundle's network as ONNX: the same logits on real cubes, the same files from the command line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from integration.copies import halve_mask, open_bundle, with_weights
from monai.bundle import onnx_export, run

from universal_model_components.imaging.normalization import load_scan
from universal_model_components.inference.onnx import OnnxNetwork
from universal_model_components.weights.loading import load_weights

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FEATURES = [4, 8, 16, 32]
PATCH = [32, 32, 16]
TASKS = sorted(file.parents[1].name for file in REPOSITORY.glob("bundles/*/configs/inference_onnx.json"))
PAGE = (REPOSITORY / "docs/onnx.md").read_text()


def exported(bundle: Path) -> Path:
    """Export with what the page's command gives, but for the patch."""
    options = ast.literal_eval(re.search(r'--converter_kwargs "(.*)"', PAGE)[1])
    file = bundle / "models/model.onnx"
    onnx_export(
        "network_def",
        str(file),
        ckpt_file=str(bundle / "models/model.pt"),
        meta_file=str(bundle / "configs/metadata.json"),
        config_file=str(bundle / "configs/inference.json"),
        use_trace=True,
        input_shape=[2, 1, *PATCH],
        converter_kwargs=options,
    )
    return file


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


@pytest.mark.parametrize("name", TASKS)
def test_bundles_readme_gives_the_pages_command(name, bundles):
    readme, options = (bundles / name / "docs/README.md").read_text(), re.search(r'--converter_kwargs ".*"', PAGE)[0]
    shape = open_bundle(bundles / name)["_meta_::network_data_format::inputs::image::spatial_shape"]
    assert options in readme
    assert f'--input_shape "[2,1,{",".join(map(str, shape))}]"' in readme


@pytest.mark.parametrize("name", TASKS)
def test_logits_are_those_of_the_network(name, bundles, tmp_path, cubes):
    bundle = with_weights(bundles / name, tmp_path, features=FEATURES)
    session = OnnxNetwork(str(exported(bundle)))
    network = load_weights(open_bundle(bundle).get_parsed_content("network_def"), bundle / "models/model.pt").eval()
    for batch in (cubes, cubes[:1]):  # the exported batch was two
        with torch.no_grad():
            torch.testing.assert_close(session(batch), network(batch), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"model\.onnx was exported for .*32, 32, 16.*export it again"):
        session(cubes[..., :8])


def test_bundle_run_writes_the_same_mask(bundles, tmp_path, generator):
    bundle = with_weights(bundles / "left_atrium_ct_segmentation", tmp_path, features=FEATURES, patch_size=PATCH)
    voxels = torch.randint(-900, 900, (1, 32, 40, 20), generator=generator).float()
    voxels = torch.nn.functional.avg_pool3d(voxels, 3, 1, 1)[0].numpy().astype(np.int16)
    (bundle / "data").mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1.5, -1.5, 2.0, 1.0])), bundle / "data/a.nii.gz")
    halve_mask(bundle, load_scan(bundle / "data/a.nii.gz", (-1000, 1000), "range").volume)
    exported(bundle)
    masks = []
    for names in (["inference"], ["inference", "inference_onnx"]):
        if len(names) == 2:  # else PyTorch's network could answer in its place, and as well
            (bundle / "models/model.pt").unlink()
        files = [str(bundle / f"configs/{name}.json") for name in names]
        run(config_file=files, bundle_root=str(bundle), output_dir=str(tmp_path / names[-1]), num_workers=0)
        (file,) = (tmp_path / names[-1]).rglob("*.nii.gz")
        masks.append(np.asarray(nibabel.load(file).dataobj))
    assert 0.1 < masks[0].mean() < 0.9
    assert (masks[0] != masks[1]).mean() < 1e-3  # voxels whose probability is one half


@pytest.mark.parametrize(("content", "message"), [(None, "no file"), (b"not onnx", "is unreadable")])
def test_bad_file_is_named_in_one_line(content, message, tmp_path):
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=rf"^onnx_file: .*{message}.*$") as error:
        OnnxNetwork(str(file))
    assert "\n" not in str(error.value)
