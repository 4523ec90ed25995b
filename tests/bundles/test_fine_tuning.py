# SPDX-License-Identifier: Apache-2.0
"""From one pre-trained file into all five target tasks, by the bundles as they are: what was loaded, and from where."""

from __future__ import annotations

import re

import pytest
import torch
from classification_tasks import LNC
from task_bundles import SEGMENTATION, SMALL, TASKS, run, workflow

CUBES = {"batch_size": 3, "cubes_per_case": 2, "image_interval": 0}  # two steps an epoch


@pytest.fixture(scope="module")
def pretrained(cube_store, tmp_path_factory):
    """The folder that a short pre-training leaves: one state dict in two containers, and its provenance."""
    root = tmp_path_factory.mktemp("pretrained")
    settings = {"cube_store": str(cube_store), "epochs": 1, "panel_interval": 0, "learning_rate::unet": 0.1}
    run("universal_model_pretraining", "train", bundle_root=str(root), **settings)
    return root / "models"


@pytest.mark.parametrize("task", sorted(TASKS))
def test_two_steps_from_the_pretrained_weights(task, pretrained, task_data, tmp_path, capsys, caplog):
    file = pretrained / ("model.safetensors" if task in (LNC, *list(SEGMENTATION)[:1]) else "model.pt")
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(task_data(task)), **SMALL[task]}
    settings |= CUBES if task in SEGMENTATION else {}
    flow = workflow(task, "train", epochs=1, pretrained_weights=str(file), **settings)
    capsys.readouterr()
    flow.initialize()
    parts = ("encoder", "decoder") if task in SEGMENTATION else ("encoder",)
    table = capsys.readouterr().out
    assert f"weights from {file}" in table
    for part in parts:
        assert re.search(rf"^{part} .* 100\.0%$", table, re.MULTILINE), table
    given, own = torch.load(pretrained / "model.pt", weights_only=True), flow.network_def.state_dict()
    new = ("decoder.head.", "classifier.")
    started = {name: tensor.clone() for name, tensor in own.items()}
    for part in parts:
        wanted = {name for name in given if name.startswith(f"{part}.") and not name.startswith(new)}
        assert wanted == {name for name in own if name.startswith(f"{part}.") and not name.startswith(new)}
        assert all(torch.equal(own[name], given[name]) for name in wanted)
    assert not any(torch.equal(own[n], given[n]) for n in own if n in given and n.startswith(new))
    spaced = "spacing" in SMALL[task]  # these tests' spacing is not that of the pre-training, and the log says so
    assert ("was trained with spacing [1.0, 1.0, 1.0], this run has [8.0, 8.0, 8.0]" in caplog.text) is spaced
    flow.run()
    assert flow.trainer.state.iteration == 2
    trained = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert trained.keys() == started.keys()
    moved = [name for name in trained if name.endswith("weight") and not torch.equal(trained[name], started[name])]
    assert {name.split(".")[0] for name in moved} == {name.split(".")[0] for name in trained}
    assert all(torch.isfinite(tensor).all() for tensor in trained.values())
