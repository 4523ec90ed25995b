# SPDX-License-Identifier: Apache-2.0
"""The pre-training bundle as users run it: the real command, in a process of its own, from another directory."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from monai.bundle import ConfigWorkflow
from safetensors import safe_open
from scan_files import write_labeled_scans

from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.provenance import tensors_sha256

WIDTH = [4, 8, 16, 32]
SMALL = ["--features", str(WIDTH), "--num_workers", "0", "--panel_interval", "0"]


def command(bundles, cube_store, root, *options, configs=("train.json",), launcher=("-m",)):
    folder = bundles / "universal_model_pretraining" / "configs"
    files = str([str(folder / name) for name in configs])
    start = [sys.executable, *launcher, "monai.bundle", "run", "--config_file", files]
    return [*start, "--bundle_root", str(root), "--cube_store", str(cube_store), *SMALL, *options]


def run(*args, check=True, **kwargs):
    line = command(*args, **kwargs)
    result = subprocess.run(line, cwd="/", capture_output=True, text=True, check=False, env=environment())
    if check:
        assert result.returncode == 0, result.stderr[-3000:]
    return result


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def losses(root):
    rows = list(csv.DictReader((root / "output" / "losses.csv").open()))
    return [{name: float(value or "nan") for name, value in row.items() if name != "seconds"} for row in rows]


def model(root):
    return torch.load(root / "models" / "model.pt", weights_only=True)


@pytest.mark.parametrize("configs", [("train.json",), ("train.json", "evaluate.json"), ("train.json", "modern.json")])
def test_properties_are_complete(bundles, cube_store, tmp_path, configs):
    folder = bundles / "universal_model_pretraining" / "configs"
    workflow = ConfigWorkflow(
        config_file=[str(folder / name) for name in configs],
        meta_file=str(folder / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        bundle_root=str(tmp_path),
        cube_store=str(cube_store),
        features=WIDTH,
        num_workers=0,
    )
    if "evaluate.json" in configs:
        (tmp_path / "models").mkdir()
        torch.save(UniversalModel(features=WIDTH).state_dict(), tmp_path / "models" / "model.pt")
    workflow.initialize()
    assert workflow.check_properties() == []


def test_train_writes_its_model_and_its_losses(bundles, cube_store, tmp_path):
    result = run(bundles, cube_store, tmp_path, "--epochs", "2", "--panel_interval", "2", "--num_workers", "1")
    rows = losses(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2]
    names = {
        "loss",
        "loss_restoration",
        "loss_modality",
        "loss_scale",
        "val_restoration",
        "lr_unet",
        "lr_discriminator",
    }
    assert names <= set(rows[0])
    assert (rows[0]["lr_unet"], rows[0]["lr_scale_classifier"], rows[0]["lr_discriminator"]) == (1.0, 0.1, 0.001)
    UniversalModel(features=WIDTH).load_state_dict(model(tmp_path), strict=True)
    assert (tmp_path / "output" / "panels" / "epoch_0002.png").stat().st_size > 1000
    check_provenance(tmp_path / "models", cube_store, rows)
    assert list((tmp_path / "output" / "tensorboard").iterdir())
    assert "val_restoration" in result.stdout + result.stderr


def check_provenance(folder, cube_store, rows):
    """Both containers hold the same tensors, and one provenance that is true of the run."""
    provenance = json.loads((folder / "model.provenance.json").read_text())
    with safe_open(folder / "model.safetensors", "pt") as content:
        assert json.loads(content.metadata()["provenance"]) == provenance
        assert provenance["sha256"] == tensors_sha256({name: content.get_tensor(name) for name in content.keys()})  # noqa: SIM118
    assert provenance["sha256"] == tensors_sha256(torch.load(folder / "model.pt", weights_only=True))
    recipe = json.loads((cube_store / "store.json").read_text())["recipe"]
    assert (provenance["recipe"], provenance["features"], provenance["seed"]) == (recipe, WIDTH, 0)
    (cases,) = [entry["cases"] for entry in provenance["data"].values()]
    assert cases == {name: {"training": 2, "validation": 1} for name in ("ct", "mri")}
    best = min(rows, key=lambda row: row["val_restoration"])
    assert provenance["epoch"] == best["epoch"]
    assert provenance["metrics"]["val_restoration"] == pytest.approx(best["val_restoration"])


def test_validations_say_what_is_to_beat_and_name_what_does_not_learn(bundles, cube_store, tmp_path):
    still = ["--learning_rate", "{'unet': 0.0, 'scale_classifier': 0.0, 'discriminator': 1.0e-9}"]
    result = run(bundles, cube_store, tmp_path, "--epochs", "2", "--alarm_patience", "2", *still)
    row = losses(tmp_path)[-1]
    assert 0 < row["val_constant"] < row["val_restoration"]
    said = f"restoration {row['val_restoration']:.4f}; corrupted input {row['val_corrupted']:.4f}, best constant"
    assert said in result.stdout + result.stderr
    assert "no better than the best constant for each cube" in result.stdout + result.stderr


def test_modern_recipe_and_switches_given_as_strings(bundles, cube_store, tmp_path):
    options = ["--epochs", "1", "--mial", "false", "--scale_classifier", "false", "--resume", "true"]
    result = run(bundles, cube_store, tmp_path, *options, configs=("train.json", "modern.json"))
    assert "starting from zero" in result.stdout + result.stderr
    assert {name.split(".")[0] for name in model(tmp_path)} == {"encoder", "decoder"}
    assert "loss_modality" not in losses(tmp_path)[0]


def test_one_modality_alone(bundles, cube_store, tmp_path):
    run(bundles, cube_store, tmp_path, "--epochs", "1", "--modalities", "['mri']", "--mial", "False")
    assert {name.split(".")[0] for name in model(tmp_path)} == {"encoder", "decoder", "scale_classifier"}


def test_a_run_killed_twice_ends_like_one_never_killed(bundles, cube_store, tmp_path):
    options = ["--epochs", "4", "--checkpoint_interval", "2", "--early_stopping_patience", "5", "--resume", "true"]
    options += ["--warmup_steps", "9", "--num_workers", "1", "--val_interval", "2", "--plateau::patience", "0"]
    options += ["--corruption::mask", "0.6", "--corruption::mask_side", "4", "--unchanged_weight", "0.1"]
    options += ["--mean_weight", "0.1"]
    options += ["--reversal", "0.1", "--reversal_ramp", "0.5", "--probe_interval", "2", "--probe_patience", "9"]
    labeled = write_labeled_scans(tmp_path / "labeled")
    probed = {"datalist": str(labeled), "dataset_dir": str(labeled.parent), "modality": "mri"}
    options += ["--probe_data", str(probed)]
    run(bundles, cube_store, tmp_path / "whole", *options)
    killed = tmp_path / "killed"
    checkpoint = killed / "models" / "checkpoint.pt"
    for changes in (1, 4):
        process = subprocess.Popen(
            command(bundles, cube_store, killed, *options),
            cwd="/",
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seen = set()
        while len(seen) < changes and process.poll() is None:
            if checkpoint.exists():
                seen.add(checkpoint.stat().st_mtime_ns)
            time.sleep(0.01)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(bundles, cube_store, killed, *options)
    assert str(losses(killed)) == str(
        losses(tmp_path / "whole")
    )  # as text: nan, where nothing was validated, equals nan
    assert all(0 < losses(killed)[-1][name] <= 1 for name in ("probe_auc", "probe_auc_untrained"))
    first, second = model(killed), model(tmp_path / "whole")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_processes_equal_one_with_the_same_batch(bundles, cube_store, tmp_path):
    run(bundles, cube_store, tmp_path / "start", "--epochs", "3", "--learning_rate::unet", "0.1")
    # from trained weights: with the statistics of an untrained network, frozen normalization lets no signal through
    start = tmp_path / "start.json"
    weights = tmp_path / "start" / "models" / "model.pt"
    start.write_text(
        json.dumps({"+initialize": [f"$@network_def.load_state_dict(torch.load('{weights}', weights_only=True))"]})
    )
    common = ["--epochs", "2", "--freeze_normalization", "true"]
    common += ["--learning_rate", "{'unet': 0.1, 'scale_classifier': 0.1, 'discriminator': 0.01}"]
    run(bundles, cube_store, tmp_path / "one", *common, "--batch_size", "8", configs=("train.json", start))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    configs = ("train.json", "multi_gpu_train.json", start)
    run(bundles, cube_store, tmp_path / "two", *common, "--batch_size", "4", launcher=launcher, configs=configs)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 2
    for alone, together in zip(one, two, strict=True):
        for name, value in alone.items():
            assert together[name] == pytest.approx(value, rel=1e-3), name
    first, second, before = model(tmp_path / "one"), model(tmp_path / "two"), torch.load(weights, weights_only=True)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-5)
    for part in ("encoder", "decoder", "discriminator", "scale_classifier"):
        assert max(float((first[n] - before[n]).abs().max()) for n in first if n.startswith(part)) > 1e-4, part


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed (extra `track`)")
def test_mlflow_tracking(bundles, cube_store, tmp_path):
    run(bundles, cube_store, tmp_path, "--epochs", "1", "--tracking", "mlflow")
    from mlflow import MlflowClient
    from monai.utils import path_to_sqlite_uri

    client = MlflowClient(path_to_sqlite_uri(str(tmp_path / "output" / "mlruns.db")))
    (found,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert {"loss_restoration", "loss_modality", "loss_scale"} <= set(found.data.metrics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        [["--resume", "perhaps"], "resume"],
        [["--patch_size", "[32,32,32]"], "patch_size: the stored cubes are [16, 16, 16]"],
        [["--learning_rate", "{'unet': 1.0}"], "learning_rate: {'unet': 1.0} is not a mapping with a rate for each of"],
    ],
)
def test_mistakes_are_named(bundles, cube_store, tmp_path, options, message):
    result = run(bundles, cube_store, tmp_path, "--epochs", "1", *options, check=False)
    assert result.returncode != 0
    assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        [["--modalities", "['ct', 'pet']"], "no case of 'pet'"],
        [["--probe_interval", "1"], "probe_interval: a probe needs labeled scans"],
        [["--unchanged_weight", "2"], "unchanged_weight: 2 is not within 0 and 1"],
        [["--cube_store", "/nowhere"], "cube_store: no store.json in /nowhere"],
        [["--val_interval", "3"], "train: val_interval 3 is more than the 1 epochs"],
    ],
)
def test_mistakes_end_in_one_line(bundles, cube_store, tmp_path, options, message):
    result = run(bundles, cube_store, tmp_path, "--epochs", "1", *options, check=False)
    assert result.returncode != 0
    assert message in result.stderr.strip().splitlines()[-1]


def test_resume_with_another_recipe_is_refused(bundles, cube_store, tmp_path):
    run(bundles, cube_store, tmp_path, "--epochs", "1")
    again = ["--epochs", "2", "--resume", "true"]
    result = run(bundles, cube_store, tmp_path, *again, configs=("train.json", "modern.json"), check=False)
    assert result.returncode != 0
    assert "was written with" in result.stderr.strip().splitlines()[-1]
    result = run(bundles, cube_store, tmp_path, *again, "--corruption::decreasing", "0.1", check=False)
    assert result.returncode != 0
    line = result.stderr.strip().splitlines()[-1]
    assert "was written with corruption::decreasing=0.5, this run has 0.1: give the same corruption::dec" in line
