# SPDX-License-Identifier: Apache-2.0
"""The task bundles in the tests: synthetic data sets for them, and runs in this process with a tiny network."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from conftest import REPOSITORY
from monai.bundle import ConfigParser, ConfigWorkflow
from torch import nn

from universal_model_components.phantom import Phantom, draw_brain_mri, draw_heart_ct, draw_heart_mri

FEATURES = [4, 8, 16, 32]
PRETRAINING = "universal_model_pretraining"
TASKS: dict[str, Any] = json.loads((REPOSITORY / "scripts" / "bundle_parts" / "tasks.json").read_text())
BUNDLES = [PRETRAINING, *sorted(TASKS)]
SHAPE = (32, 32, 24)


def _tumor(seed: int, **kwargs: Any) -> Phantom:
    return draw_brain_mri(seed, SHAPE, contrast="flair", tumor=True, **kwargs)


# which scans are drawn for a bundle, the name of their mask, and the value that its public data set gives it
SEGMENTATION: dict[str, tuple[Callable[..., Phantom], str, int]] = {
    "brats_mri_whole_tumor_segmentation": (_tumor, "lesion", 4),
    "left_atrium_ct_segmentation": (lambda seed, **kwargs: draw_heart_ct(seed, SHAPE, **kwargs), "left_atrium", 420),
    "left_atrium_mri_segmentation": (lambda seed, **kwargs: draw_heart_mri(seed, SHAPE, **kwargs), "left_atrium", 420),
}
# axes and tilts of the cases: rotated, left-handed, oblique
GRIDS = [("RAS", 0.0), ("LPS", 0.0), ("LAS", 0.0), ("PIR", 10.0), ("RAS", -12.0), ("ASL", 0.0)]


def write_segmentation_data(folder: Path, task: str, training: int = 3) -> Path:
    """Draw cases for a bundle: `training` to train on, one to validate, two to test; with their datalist."""
    draw, mask, value = SEGMENTATION[task]
    splits: dict[str, list] = {"training": [], "validation": [], "test": []}
    for number, (axcodes, tilt) in enumerate((GRIDS * 2)[: training + 3]):
        phantom = draw(number, axcodes=axcodes, tilt=tilt)
        case = f"case_{number}"
        label = (phantom.labels[mask] > 0).astype(np.int16) * value
        for kind, voxels in (("images", phantom.image), ("labels", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(voxels, phantom.affine), folder / kind / f"{case}.nii.gz")
        split = "training" if number < training else "validation" if number == training else "test"
        entry = {"image": f"images/{case}.nii.gz", "label": f"labels/{case}.nii.gz", "case": case, "group": case}
        splits[split].append({**entry, "modality": phantom.modality})
    (folder / "datalist.json").write_text(json.dumps({"name": task, "version": 1, "seed": 0, **splits}))
    return folder


def tool_files(bundle: Path) -> dict[str, str]:
    """The two files that MONAI's tools ask for."""
    return {"meta_file": str(bundle / "configs/metadata.json"), "config_file": str(bundle / "configs/inference.json")}


def network_of(bundle: Path) -> nn.Module:
    """The bundle's own network, narrow, with weights that are not those of any other."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    parser["features"] = FEATURES
    torch.manual_seed(11)
    return parser.get_parsed_content("network_def").eval()


def workflow(task: str, *configs: str, **settings: Any) -> ConfigWorkflow:
    """Make the workflow of a bundle's configs, with a tiny network."""
    folder = REPOSITORY / "bundles" / task / "configs"
    return ConfigWorkflow(
        config_file=[str(folder / f"{name}.json") for name in configs],
        meta_file=str(folder / "metadata.json"),
        logging_file=False,
        workflow_type="infer" if configs[0] == "inference" else "train",
        **{"features": FEATURES, "num_workers": 0, "device": "cpu", **settings},
    )


def run(task: str, *configs: str, **settings: Any) -> ConfigWorkflow:
    """Run a bundle's configs in this process."""
    flow = workflow(task, *configs, **settings)
    flow.initialize()
    flow.run()
    flow.finalize()
    return flow


def rows(file: Path) -> list[dict[str, str]]:
    """Read a CSV."""
    with file.open() as stream:
        return list(csv.DictReader(stream))
