# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.loading import read_weights
from universal_model_components.weights.provenance import complete, read_provenance, write_weights

REPOSITORY = Path(__file__).resolve().parents[2]
SCAN = "hippocampus_mri/imagesTr/hippocampus_001.nii.gz"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("release_weights", REPOSITORY / "scripts" / "release_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def experiment(tmp_path):
    """An experiment as `experiment run` leaves it, with a network of random weights."""
    folder, store = tmp_path / "weights/pretraining/universal-1", tmp_path / "weights/stores/cubes-1"
    (folder / "output").mkdir(parents=True)
    (folder / "models").mkdir()
    (store / "cubes").mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"system": "universal"}))
    (folder / "train.json").write_text(json.dumps({"cube_store": str(store / "cubes")}))
    (store / "prepare.json").write_text(json.dumps({"datalist": str(tmp_path / "list.json")}))
    (tmp_path / "list.json").write_text(json.dumps({"training": [{"image": SCAN}]}))
    (store / "cubes/store.json").write_text(json.dumps({"splits": {"training": [{"counts": [3, 2, 1]}]}}))
    (folder / "output/losses.csv").write_text("epoch,loss\n1,0.5\n")
    with SummaryWriter(str(folder / "output/tensorboard")) as logs:
        for step in range(60):
            logs.add_scalar("loss", 1 / (step + 3), step + 1)
            logs.add_scalar("loss_restoration", 1 / (step + 7), step + 1)
    state = UniversalModel(features=(4, 8, 8, 8)).state_dict()
    write_weights(folder / "models/model.pt", state, complete({"seed": 0}, state))
    bundle = tmp_path / "bundles/universal_model_pretraining"
    (bundle / "models").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "bundles/universal_model_pretraining/docs", bundle / "docs")
    return tmp_path


def release(script, folder):
    script.release_pretraining(
        str(folder / "weights"), bundles=str(folder / "bundles"), evidence=str(folder / "evidence")
    )


def test_weights_are_released_with_the_scans_that_they_saw(script, experiment):
    bundle = experiment / "bundles/universal_model_pretraining"
    release(script, experiment)
    texts = [(bundle / "docs/data_license.txt").read_text()]
    release(script, experiment)  # a second release replaces the section
    texts.append((bundle / "docs/data_license.txt").read_text())
    assert texts[0] == texts[1]
    assert texts[0].count(SCAN) == 1
    assert "Task04 Hippocampus: CC BY-SA 4.0" in texts[0]
    assert "1 that they were trained on (6 cubes) or chosen by" in texts[0]
    state = read_weights(bundle / "models/model.pt")
    trained = read_weights(experiment / "weights/pretraining/universal-1/models/model.pt")
    assert all(torch.equal(state[name], trained[name]) for name in trained)
    provenance = read_provenance(bundle / "models/model.pt", {})
    assert provenance["seed"] == 0
    assert [source["scans"] for source in provenance["scans"]] == [[SCAN]]
    assert (experiment / "evidence/losses.csv").read_text() == "epoch,loss\n1,0.5\n"


def test_the_first_steps_are_exact(script, experiment):
    release(script, experiment)
    with (experiment / "evidence/first_steps.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == list(range(1, 51))
    assert float(rows[1]["loss"]) == torch.tensor(1 / 4).item()
    assert float(rows[1]["loss_restoration"]) == torch.tensor(1 / 8).item()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "list.json",
            {"training": [{"image": "pretraining/mri/brain_t1_chris.nii.gz"}]},
            r"brain_t1_chris.*exclude it",
        ),
        (
            "weights/pretraining/universal-1/record.json",
            {"system": "genesis"},
            "0 finished pre-trainings of 'universal'",
        ),
    ],
)
def test_what_may_not_be_released_is_refused(script, experiment, file, content, message):
    (experiment / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        release(script, experiment)
    assert not (experiment / "bundles/universal_model_pretraining/models/model.pt").exists()
