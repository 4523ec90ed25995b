# SPDX-License-Identifier: Apache-2.0
"""The pre-training bundle with a pretext task: it trains, resumes, is evaluated, and its encoder starts target tasks."""

from __future__ import annotations

import copy
import csv
import json
import logging
import os
import subprocess
import sys

import pytest
import torch
from classification_tasks import ADC, SMALL, write_adni
from ignite.engine import Events
from task_bundles import FEATURES, PRETRAINING, SEGMENTATION, run, workflow, write_segmentation_data
from user_errors import raises_user_error

from universal_model_components.method.models import UniversalModel
from universal_model_components.pretext.jigsaw import JigsawModel
from universal_model_components.pretext.rotation import RotationModel

TASKS = {"rotation": (RotationModel, 10), "jigsaw": (JigsawModel, 100)}
BTS = next(iter(SEGMENTATION))
OF_TASK = {
    BTS: {"patch_size": [16, 16, 8], "spacing": [8.0, 8.0, 8.0], "batch_size": 3, "image_interval": 0},
    ADC: SMALL[ADC],
}


def overlays(task, *more):
    return ("train", "modern", f"train_{task}", *more)


@pytest.fixture
def prepare(cube_store, tmp_path):
    """Prepare a run of the bundle's configs in a folder."""

    def start(*configs, name="run", **settings):
        flow = workflow(PRETRAINING, *configs, bundle_root=str(tmp_path / name), cube_store=str(cube_store), **settings)
        flow.initialize()
        return flow

    return start


@pytest.fixture(scope="module")
def trained(cube_store, tmp_path_factory):
    """The folder of each task's run of two epochs, as the stock command leaves it."""
    folders = {}
    for task in TASKS:
        folders[task] = tmp_path_factory.mktemp(task)
        run(PRETRAINING, *overlays(task), bundle_root=str(folders[task]), cube_store=str(cube_store), epochs=2)
    return folders


def losses(root):
    with (root / "output" / "losses.csv").open() as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def weights(root):
    return torch.load(root / "models" / "model.pt", weights_only=True)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("more", [(), ("evaluate_pretext",)])
def test_properties_are_complete(task, more, prepare):
    for configs in (overlays(task, *more), ("train", f"train_{task}", *more)):
        assert prepare(*configs).check_properties() == []


@pytest.mark.parametrize("task", TASKS)
def test_training_records_the_task_and_leaves_a_model(task, trained):
    kind, classes = TASKS[task]
    rows = losses(trained[task])
    assert len(rows) == 2
    names = {"loss", f"loss_{task}", f"val_{task}", f"val_{task}_accuracy", "lr_unet", "lr_classifier"}
    assert names <= set(rows[0])
    assert not {name for name in rows[0] if "restoration" in name}
    assert 0 <= float(rows[-1][f"val_{task}_accuracy"]) <= 1
    kind(features=FEATURES).load_state_dict(weights(trained[task]), strict=True)
    provenance = json.loads((trained[task] / "models" / "model.provenance.json").read_text())
    assert provenance["method"] == f"3D {task.capitalize()}"
    assert (provenance["seed"], "beta" in provenance, "alpha" in provenance) == (0, False, False)
    assert list((trained[task] / "output" / "tensorboard").iterdir())
    assert not (trained[task] / "output" / "panels").exists()
    if task == "jigsaw":
        assert weights(trained[task])["permutations"].shape == (classes, 27)


@pytest.mark.parametrize("task", TASKS)
def test_held_out_accuracy_stands_beside_chance(task, trained, prepare, caplog):
    root = trained[task]
    flow = prepare(*overlays(task, "evaluate_pretext"), output_dir=str(root / "eval"), ckpt_dir=str(root / "models"))
    with caplog.at_level(logging.INFO):
        flow.run()
    report = json.loads((root / "eval" / "evaluation.json").read_text())
    best = min(losses(root), key=lambda row: float(row[f"val_{task}"]))
    assert report["chance"] == 1 / TASKS[task][1]
    assert report["accuracy"] == pytest.approx(float(best[f"val_{task}_accuracy"]))
    assert report["cross_entropy"] == pytest.approx(float(best[f"val_{task}"]), rel=1e-4)
    assert f"{task} accuracy" in caplog.text
    with (root / "eval" / "evaluation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["case"] for row in rows} == set(report["cases"])
    assert sum(int(row["cubes"]) for row in rows) == report["cubes"]


@pytest.mark.parametrize("task", TASKS)
def test_a_resumed_run_ends_like_one_in_one_piece(task, prepare, trained):
    whole = trained[task]
    root = whole.parent / f"{whole.name}_parts"
    folder = {"bundle_root": str(root), "epochs": 2, "checkpoint_interval": 1}
    flow = prepare(*overlays(task), **folder)
    flow.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=flow.trainer.state.epoch_length or 4), interrupt)
    with pytest.raises(KeyboardInterrupt):
        flow.run()
    torch.rand(7)  # whatever happens in between
    prepare(*overlays(task), **folder, resume="true").run()
    assert losses(root) == losses(whole)
    first, second = weights(root), weights(whole)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def interrupt():
    raise KeyboardInterrupt
