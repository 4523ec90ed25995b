# SPDX-License-Identifier: Apache-2.0
"""The systems that the paper compares with, as overlays of the task bundles: trained, resumed, evaluated and used."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from classification_tasks import ADC, write_adni
from conftest import REPOSITORY
from monai.bundle import ConfigParser
from task_bundles import SEGMENTATION, TASKS, assert_same, rows, run, workflow, write_segmentation_data
from user_errors import raises_user_error

from universal_model_components.comparisons.dense_vnet import DenseVNetClassification, DenseVNetSegmentation
from universal_model_components.comparisons.i3d import I3DClassification, I3DEncoder, I3DSegmentation
from universal_model_components.comparisons.med3d import Med3DClassification, Med3DSegmentation

LAS_CT = "left_atrium_ct_segmentation"
SYSTEMS = {  # the narrowest width, and the network of each kind of task
    "i3d": (4, I3DSegmentation, I3DClassification),
    "dense_vnet": (6, DenseVNetSegmentation, DenseVNetClassification),
    "med3d": (2, Med3DSegmentation, Med3DClassification),
}
SMALL = {"patch_size": [32, 32, 8], "spacing": [8.0, 8.0, 8.0], "batch_size": 4}
TRAINING = {LAS_CT: {"cubes_per_case": 1, "image_interval": 0}, ADC: {}}
CASES = [(system, task) for system in SYSTEMS for task in TRAINING]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Synthetic cases of both tasks."""
    adni = tmp_path_factory.mktemp("adni")
    write_adni(adni)
    return {LAS_CT: write_segmentation_data(tmp_path_factory.mktemp("las"), LAS_CT), ADC: adni}


@pytest.fixture(scope="module")
def train(folders, tmp_path_factory):
    """Train a system for as many steps as epochs, and return the folder of the run."""

    def start(system, task, root=None, **settings):
        root = tmp_path_factory.mktemp("run") if root is None else root
        where = {"bundle_root": str(root), "dataset_dir": str(folders[task]), "width": SYSTEMS[system][0]}
        run(task, "train", f"systems/{system}", **where, **SMALL, **TRAINING[task], **settings)
        return root

    return start


@pytest.fixture(scope="module")
def trained(train):
    """The run of two steps of each system and task, made when it is first asked for."""
    made = {}

    def get(system, task):
        if (system, task) not in made:
            made[system, task] = train(system, task, epochs=2)
        return made[system, task]

    return get


def load(root, name):
    return torch.load(root / "models" / name, weights_only=True)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_bundle_offers_every_system(task, system):
    configs = REPOSITORY / "bundles" / task / "configs"
    for base in ("train", "inference"):
        parser = ConfigParser()
        parser.read_config([str(configs / f"{base}.json"), str(configs / "systems" / f"{system}.json")])
        parser["width"] = SYSTEMS[system][0]
        network = parser.get_parsed_content("network_def")
        assert type(network) is SYSTEMS[system][1 if task in SEGMENTATION else 2]
        assert parser.get_parsed_content("settings")["features"] == [SYSTEMS[system][0]]


@pytest.mark.parametrize(("system", "task"), CASES)
def test_a_resumed_run_ends_like_one_in_one_piece(system, task, train, trained):
    whole = trained(system, task)
    assert [row["step"] for row in rows(whole / "output" / "losses.csv")] == ["1", "2"]
    parts = train(system, task, epochs=1)
    torch.rand(7)  # whatever happens in between
    train(system, task, root=parts, epochs=2, resume="true")
    assert_same(load(whole, "checkpoint.pt")["network"], load(parts, "checkpoint.pt")["network"])
    provenance = json.loads((whole / "models" / "model.provenance.json").read_text())
    assert (provenance["system"], provenance["features"]) == (system, [SYSTEMS[system][0]])


@pytest.mark.parametrize(("system", "task"), CASES)
def test_it_evaluates_and_infers_with_the_commands_of_the_bundle(system, task, folders, trained, tmp_path):
    settings = {"bundle_root": str(tmp_path), "width": SYSTEMS[system][0], "dataset_dir": str(folders[task]), **SMALL}
    settings["pretrained_weights"] = str(trained(system, task) / "models" / "model.pt")
    more = {"overlays": False} if task == LAS_CT else {"bootstrap": 10}
    run(task, "train", f"systems/{system}", "evaluate", **settings, **more, **TRAINING[task])
    assert len(rows(tmp_path / "output" / "evaluation.csv")) == 2
    settings["datalist"] = str(folders[task] / "datalist.json")
    run(task, "inference", f"systems/{system}", **settings)
    if system == "med3d":  # another network, with the same shapes in classification
        with raises_user_error(
            "pretrained_weights: .* was trained with dilated True, this run has False: give the same"
        ):
            run(task, "inference", f"systems/{system}", **settings, dilated="false")
    if task == ADC:
        found = rows(tmp_path / "eval" / "predictions.csv")
        assert len(found) == 2
        return
    masks = sorted((tmp_path / "eval").rglob("*_seg.nii.gz"))
    assert [mask.name for mask in masks] == ["case_4_seg.nii.gz", "case_5_seg.nii.gz"]
    scan = nibabel.load(folders[task] / "images" / "case_4.nii.gz")
    assert nibabel.load(masks[0]).shape == scan.shape
    assert set(np.unique(nibabel.load(masks[0]).dataobj)) <= {0, 1}


def test_properties_are_complete(folders, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(folders[LAS_CT]), "width": 4, **SMALL}
    flow = workflow(LAS_CT, "train", "systems/i3d", **settings, **TRAINING[LAS_CT])
    flow.initialize()
    assert flow.check_properties() == []


def test_i3d_starts_from_a_file_of_the_public_layout(folders, train, tmp_path, capsys):
    state = I3DEncoder(in_channels=2, width=4).state_dict()
    torch.save(state, tmp_path / "flow_imagenet.pt")
    for name in ("flow", "rgb"):
        settings = {"bundle_root": str(tmp_path), "dataset_dir": str(folders[LAS_CT]), "width": 4, **SMALL}
        settings |= {"pretrained_weights": str(tmp_path / "flow_imagenet.pt"), **TRAINING[LAS_CT]}
        settings["stem_channels"] = 2 if name == "flow" else 3
        flow = workflow(LAS_CT, "train", "systems/i3d", **settings)
        if name == "rgb":
            with raises_user_error(r"covers 9\d\.\d% of encoder, expected 100\.0% \(encoder\.Conv3d_1a_7x7"):
                flow.initialize()
            continue
        flow.initialize()
        own = flow.network_def.encoder.state_dict()
        assert all(torch.equal(own[key], tensor) for key, tensor in state.items())
        assert "100.0%" in capsys.readouterr().out


def test_another_system_or_width_does_not_resume(train, trained):
    root = trained("dense_vnet", LAS_CT)
    with raises_user_error(r"resume: .* was written with features=\[6\], this run has \[4\]"):
        train("i3d", LAS_CT, root=root, epochs=3, resume="true")


def test_settings_of_the_systems_are_checked(folders, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(folders[LAS_CT]), **SMALL, **TRAINING[LAS_CT]}
    for system, change, message in (
        ("med3d", {"dilated": "maybe"}, "^dilated: 'maybe' is not a boolean"),
        ("i3d", {"stem_channels": 0}, "^stem_channels: 0 is not a whole number of at least 1"),
        ("i3d", {"width": 6}, "width must be a positive multiple of 4, got 6"),
    ):
        flow = workflow(LAS_CT, "train", f"systems/{system}", **settings, **change)
        with raises_user_error(message):
            flow.initialize()
