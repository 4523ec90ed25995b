# SPDX-License-Identifier: Apache-2.0
"""A run resumes with what it was started with, or says in one line what is different."""

from __future__ import annotations

import json
import shutil

import h5py
import pytest
import torch
from task_bundles import FEATURES, PRETRAINING, SEGMENTATION, run, write_segmentation_data
from user_errors import raises_user_error

from universal_model_components.method.models import UniversalModel

BTS = next(iter(SEGMENTATION))
TASK = {"patch_size": [16, 16, 8], "spacing": [8.0, 8.0, 8.0], "batch_size": 3, "image_interval": 0, "epochs": 1}


@pytest.fixture(scope="module")
def pretraining(cube_store, tmp_path_factory):
    """The settings of a pre-training that ended."""
    root = tmp_path_factory.mktemp("pretraining")
    settings = {"bundle_root": str(root), "cube_store": str(cube_store), "epochs": 1, "panel_interval": 0}
    run(PRETRAINING, "train", **settings)
    return settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer::momentum": 0.8},
            "optimizer::momentum=0.9, this run has 0.8: give the same optimizer::momentum, or",
        ),
        ({"channels_last": True}, "channels_last=False, this run has True: give the same channels_last, or"),
        ({"unchanged_weight": 0.5}, "unchanged_weight=1.0, this run has 0.5; loss::unchanged_weight="),
        ({"mean_weight": 0.5}, "mean_weight=1.0, this run has 0.5; loss::mean_weight="),
        ({"reversal": 0.5}, "reversal=1.0, this run has 0.5"),
        ({"reversal_ramp": 0.5}, "reversal_ramp::share=0.0, this run has 0.5"),
        ({"reduce_on_plateau": "false"}, "reduce_on_plateau=True, this run has False"),
        ({"plateau::patience": 3}, "plateau::patience=10, this run has 3"),
        ({"corruption::flip": 0.1}, "corruption::flip=0.4, this run has 0.1"),
        ({"val_interval": 2, "epochs": 2}, "val_interval=1, this run has 2"),
    ],
)
def test_pretraining_with_something_else_is_refused(changes, message, pretraining):
    with raises_user_error(f"^resume: .*checkpoint.pt was written with .*{message}"):
        run(PRETRAINING, "train", **{**pretraining, **changes}, resume="true")


def test_a_store_of_other_scans_is_refused_and_a_moved_one_is_not(pretraining, tmp_path):
    moved = shutil.copytree(pretraining["cube_store"], tmp_path / "moved")
    settings = {**pretraining, "cube_store": str(moved), "output_dir": str(tmp_path / "output"), "panel_interval": 3}
    run(PRETRAINING, "train", **settings, resume="true")
    with h5py.File(next(moved.glob("cases/*.h5")), "a") as case:
        case.attrs["sha256"] = "0" * 64
    with raises_user_error(
        r"was written with cube_store='.* cubes of 6 cases, .*', this run has '.*: give the same cube_"
    ):
        run(PRETRAINING, "train", **settings, resume="true")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The settings of a task's training from pre-trained weights that ended."""
    root = tmp_path_factory.mktemp("task")
    for name in ("a", "b"):
        torch.save(UniversalModel(features=FEATURES).state_dict(), root / f"{name}.pt")
    data = write_segmentation_data(root / "data", BTS)
    settings = {"bundle_root": str(root), "dataset_dir": str(data), "pretrained_weights": str(root / "a.pt"), **TASK}
    run(BTS, "train", **settings)
    return settings


def test_a_task_with_something_else_is_refused(task, tmp_path):
    root = tmp_path.joinpath(task["bundle_root"])
    content = json.loads((root / "data/datalist.json").read_text())
    first, other = content["training"][0], content["test"][0]
    (root / "data/other.json").write_text(json.dumps({**content, "training": [other, *content["training"][1:]]}))
    noted = [{**first, "note": "read by nobody"}, *content["training"][1:]]
    (root / "data/noted.json").write_text(json.dumps({**content, "training": noted, "test": []}))
    for changes, message in (
        ({"datalist": f"{root}/data/other.json"}, "datalist='3 training and 1 validation cases, .*', this run has '3 "),
        ({"pretrained_weights": f"{root}/b.pt"}, "pretrained_weights='tensors of sha256 .*', this run has 'tensors"),
        ({"loss::batch": False}, "loss::batch=True, this run has False: give the same loss::batch, or"),
        ({"optimizer::eps": 1e-6}, "optimizer::eps=1e-08, this run has 1e-06"),
        ({"overlap": 0.5}, "overlap=0.25, this run has 0.5"),
    ):
        with raises_user_error(f"^resume: .*checkpoint.pt was written with {message}"):
            run(BTS, "train", **{**task, **changes}, resume="true")
    shutil.move(root / "a.pt", root / "moved.pt")
    harmless = {"datalist": f"{root}/data/noted.json", "pretrained_weights": f"{root}/moved.pt", "cache_rate": 0.0}
    run(BTS, "train", **{**task, **harmless, "epochs": 2, "num_workers": 1}, resume="true")
