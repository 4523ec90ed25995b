# SPDX-License-Identifier: Apache-2.0
"""The pre-training bundle with a pretext task: it trains, resumes, is evaluated; its encoder starts target tasks."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def target_data(tmp_path_factory):
    """For each target task a folder of cases in miniature."""
    folders = {task: tmp_path_factory.mktemp("cases") for task in OF_TASK}
    write_segmentation_data(folders[BTS], BTS)
    write_adni(folders[ADC])
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
    assert not {"unchanged_weight", "mean_weight", "reversal", "reversal_ramp"} & set(provenance)
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
@pytest.mark.parametrize("stop_after", [2, 8])  # within the first epoch, and in the second
def test_a_resumed_run_ends_like_one_in_one_piece(task, stop_after, prepare, trained, tmp_path):
    whole, root = trained[task], tmp_path / "parts"
    settings = {"name": "parts", "epochs": 2, "checkpoint_interval": 1}
    flow = prepare(*overlays(task), **settings)
    flow.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop_after), interrupt)
    with pytest.raises(KeyboardInterrupt):
        flow.run()
    torch.rand(7)  # whatever happens in between
    prepare(*overlays(task), **settings, resume="true").run()
    assert losses(root) == losses(whole)
    first, second = weights(root), weights(whole)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def interrupt():
    raise KeyboardInterrupt


def test_the_checkpoint_of_another_task_is_refused(prepare, tmp_path):
    prepare(*overlays("rotation"), epochs=1).run()
    flow = prepare(*overlays("jigsaw"), epochs=1, resume="true")
    with raises_user_error("checkpoint.pt was written with pretext='rotation', this run has 'jigsaw'"):
        flow.run()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("target", OF_TASK)
def test_the_encoder_starts_a_target_task(task, target, trained, target_data, tmp_path):
    """All of the encoder is loaded, a classifier starts anew, and the task trains from there."""
    file = trained[task] / "models" / "model.pt"
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(target_data[target]), "pretrained_weights": str(file)}
    flow = workflow(target, "train", **OF_TASK[target], **settings, transfer="encoder", epochs=1)
    flow.initialize()
    loaded, given = flow.network_def.state_dict(), weights(trained[task])
    assert all(torch.equal(loaded[name], given[name]) for name in loaded if name.startswith("encoder."))
    assert not any(torch.equal(loaded[name], given[name]) for name in loaded if name in given and "classifier" in name)
    flow.run()
    assert (tmp_path / "models" / "model.pt").is_file()


def test_two_processes_equal_one_with_the_same_batch(bundles, cube_store, prepare, trained, tmp_path):
    """Dropout draws for each process: it is off, and normalization frozen, as elsewhere for this comparison."""
    settings = {"epochs": 1, "batch_size": 6, "freeze_normalization": True, "learning_rate::unet": 0.1}
    settings |= {"learning_rate::classifier": 0.1, "network_def::dropout": 0.0}
    settings |= {"optimizer::_target_": "torch.optim.SGD"}
    start = trained["jigsaw"] / "models" / "model.pt"
    load = f"$@network_def.load_state_dict(torch.load({str(start)!r}, weights_only=True))"
    flow = prepare("train", "train_jigsaw", name="one", **settings)
    flow.network_def.load_state_dict(weights(trained["jigsaw"]))
    flow.run()
    (tmp_path / "start.json").write_text(json.dumps({"+initialize": [load]}))
    folder = bundles / PRETRAINING / "configs"
    configs = [*(str(folder / f"{name}.json") for name in ("train", "train_jigsaw", "multi_gpu_train"))]
    settings |= {"batch_size": 3, "bundle_root": tmp_path / "two", "cube_store": cube_store, "num_workers": 0}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["monai.bundle", "run", "--config_file", str([*configs, str(tmp_path / "start.json")])]
    command += ["--features", str(FEATURES)]
    command += [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    (alone,), (together,) = losses(tmp_path / "one"), losses(tmp_path / "two")
    for name, value in alone.items():
        assert float(together[name]) == pytest.approx(float(value), rel=1e-3), name
    first, second, before = weights(tmp_path / "one"), weights(tmp_path / "two"), weights(trained["jigsaw"])
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-5)
    for part in ("encoder", "classifier"):
        assert max(float((first[n] - before[n]).abs().max()) for n in first if n.startswith(part)) > 1e-4, part
    assert torch.equal(first["permutations"], before["permutations"])


def test_training_near_chance_is_named(prepare, caplog):
    still = {"learning_rate": {"unet": 0.0, "classifier": 1e-12}, "alarm_patience": 2, "epochs": 2}
    with caplog.at_level(logging.INFO):
        prepare("train", "train_jigsaw", **still).run()
    assert "val_jigsaw_accuracy" in caplog.text
    assert "is less than twice chance, 0.0100, for 2 validations: train longer" in caplog.text


def test_weights_of_another_network_are_named(prepare, tmp_path):
    file = tmp_path / "model.pt"
    torch.save(UniversalModel(features=FEATURES).state_dict(), file)
    flow = prepare("train", "train_rotation", "evaluate_pretext", pretrained_weights=str(file))
    with raises_user_error(r"pretrained_weights: .*model.pt lacks 4 tensors of \['classifier'\]"):
        flow.run()
