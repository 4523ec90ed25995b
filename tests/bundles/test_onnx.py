# SPDX-License-Identifier: Apache-2.0
"""A target bundle's network as ONNX in place of PyTorch's: the documented command, the same masks."""

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


@pytest.mark.parametrize("name", TASKS)
def test_bundles_readme_gives_the_pages_command(name, bundles):
    readme, options = (bundles / name / "docs/README.md").read_text(), re.search(r'--converter_kwargs ".*"', PAGE)[0]
    shape = open_bundle(bundles / name)["_meta_::network_data_format::inputs::image::spatial_shape"]
    assert options in readme
    assert f'--input_shape "[2,1,{",".join(map(str, shape))}]"' in readme


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
