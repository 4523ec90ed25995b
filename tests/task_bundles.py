# SPDX-License-Identifier: Apache-2.0
"""The task bundles in the tests: synthetic data sets for them, and runs in this process with a tiny network."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import classification_tasks
import nibabel
import numpy as np
import torch
from classification_tasks import LNC, write_adni
from conftest import REPOSITORY
from devices import DEVICE
from luna import write_datalist, write_luna16
from monai.bundle import ConfigParser, ConfigWorkflow
from torch import nn

from universal_model_components.method.models import ClassificationModel, SegmentationModel
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
# settings of small runs: those that training and inference share, and those of training alone
SMALL: dict[str, dict[str, Any]] = {
    **{task: {"patch_size": [16, 16, 8], "spacing": [8.0, 8.0, 8.0], "batch_size": 4} for task in SEGMENTATION},
    **classification_tasks.SMALL,
}
TRAINING: dict[str, dict[str, Any]] = {task: {"cubes_per_case": 2, "image_interval": 2} for task in SEGMENTATION}
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


def write_task_data(folder: Path, task: str) -> Path:
    """Fill a folder with a miniature of what a task's bundle is trained on, and its datalist."""
    if task in SEGMENTATION:
        return write_segmentation_data(folder, task)
    if task == LNC:
        entries = write_luna16(folder)
        write_datalist(folder, entries[:2], entries[2:3], entries[3:])
    else:
        write_adni(folder)
    return folder


def change_datalist(data: Path, folder: Path, change: Callable[[dict], Any]) -> Path:
    """Write the datalist of a folder of data into another (or the same) folder, changed."""
    content = json.loads((data / "datalist.json").read_text())
    change(content)
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder / "datalist.json"


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
        **{"features": FEATURES, "num_workers": 0, "device": DEVICE, **settings},
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


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file."""
    return json.loads(file.read_text())


def model(root: Path) -> dict[str, torch.Tensor]:
    """The best model of a run."""
    return torch.load(root / "models" / "model.pt", weights_only=True)


def checkpoint(root: Path) -> dict[str, torch.Tensor]:
    """The last network of a run."""
    return torch.load(root / "models" / "checkpoint.pt", "cpu", weights_only=True)["network"]


def trained_network(task: str, root: Path) -> nn.Module:
    """The network of a task with the model of a run."""
    network = (SegmentationModel if task in SEGMENTATION else ClassificationModel)(features=FEATURES).eval()
    network.load_state_dict(model(root), strict=True)
    return network


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Two state dicts are bit-equal."""
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@dataclass(frozen=True)
class SmallRuns:
    """Small runs of the task bundles in the folder of a test; all but training start from a trained model."""

    data: Callable[[str], Path]
    trained: Callable[[str], Path]
    root: Path

    def weights(self, task: str) -> str:
        """The model of the task's run that tests share."""
        return str(self.trained(task) / "models" / "model.pt")

    def settings(self, task: str, *configs: str, **changes: Any) -> dict[str, Any]:
        """All settings of a run but the weights; paths may be given as such."""
        own = TRAINING.get(task, {}) if "train" in configs else {}
        settings = {"bundle_root": self.root, "dataset_dir": self.data(task), **SMALL[task], **own, **changes}
        return {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}

    def initialize(self, task: str, *configs: str, **changes: Any) -> ConfigWorkflow:
        """Make the workflow of a run, and initialize it."""
        flow = workflow(task, *configs, **self._given(task, *configs, **changes))
        flow.initialize()
        return flow

    def run(self, task: str, *configs: str, **changes: Any) -> ConfigWorkflow:
        """Run a bundle's configs in this process."""
        return run(task, *configs, **self._given(task, *configs, **changes))

    def _given(self, task: str, *configs: str, **changes: Any) -> dict[str, Any]:
        if configs != ("train",) and "pretrained_weights" not in changes:
            changes["pretrained_weights"] = self.weights(task)
        return self.settings(task, *configs, **changes)
