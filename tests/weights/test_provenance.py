# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import universal_model_components
from universal_model_components.method.genesis import GenesisCorruption
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.unet import UNet
from universal_model_components.weights.loading import load_pretrained
from universal_model_components.weights.provenance import (
    complete,
    differences,
    pretraining_provenance,
    provenance_file,
    read_provenance,
    task_provenance,
    tensors_sha256,
    write_weights,
)
from universal_model_components.weights.strict import load_weights

FEATURES = [4, 8, 16, 32]
RECIPE = {
    "spacing": [1.0, 1.0, 1.0],
    "patch_size": [64, 64, 32],
    "intensity_range": {"ct": [-1000, 1000], "mri": [0, 4000], "pet": None},
    "intensity_scale": {"ct": "range", "mri": "volume", "pet": "volume"},
}
INDEX = {
    "recipe": RECIPE,
    "sets": {"luna": {"license": "CC BY 4.0", "root": "/data"}},
    "splits": {
        "training": [{"set": "luna", "modality": "ct"}] * 3 + [{"set": "own", "modality": "mri"}],
        "validation": [{"set": "luna", "modality": "ct"}, {"set": "own", "modality": "pet"}],
    },
}


@pytest.fixture
def state():
    return UniversalModel(features=FEATURES).state_dict()


@pytest.fixture
def provenance(state):
    settings = {"features": FEATURES, "modalities": ["ct", "mri"], "seed": 7, "beta": 10.0}
    described = pretraining_provenance(INDEX, GenesisCorruption(flip=0.25), settings)
    return complete(described, state, epoch=3, metrics={"val_restoration": 0.02})


def test_the_license_of_a_set_in_either_spelling():
    index = {**INDEX, "sets": {"luna": {"licence": "CC BY 4.0"}, "own": {"license": "CC0 1.0"}}}
    sets = pretraining_provenance(index, GenesisCorruption(), {"features": FEATURES, "modalities": ["ct", "mri"]})[
        "data"
    ]
    assert {name: facts["license"] for name, facts in sets.items()} == {"luna": "CC BY 4.0", "own": "CC0 1.0"}


def test_what_a_provenance_says(provenance, state):
    assert provenance["data"] == {
        "luna": {"license": "CC BY 4.0", "cases": {"ct": {"training": 3, "validation": 1}}},
        "own": {"license": "not stated", "cases": {"mri": {"training": 1}}},
    }
    assert provenance["intensity_range"] == {"ct": [-1000, 1000], "mri": [0, 4000]}
    kinds = {"flip": 0.25, "shuffle": 0.5, "nonlinear": 0.9, "paint": 0.9, "inner": 0.2}
    assert provenance["corruption"] == {**kinds, "decreasing": 0.5, "mask": 0.0, "mask_side": 8}
    assert (provenance["features"], provenance["axes"], provenance["seed"], provenance["beta"]) == (
        FEATURES,
        "RAS",
        7,
        10.0,
    )
    assert provenance["normalization"] == "running statistics in evaluation"
    assert provenance["code"]["universal-model-components"] == universal_model_components.__version__
    assert provenance["metrics"] == {"val_restoration": 0.02}
    assert provenance["sha256"] == tensors_sha256(state)
    own = complete(None, UNet(1, 1, FEATURES, batch_statistics=True).state_dict())
    assert own["normalization"] == "batch statistics, in evaluation too"


def test_a_continued_pretraining_names_its_ancestor():
    settings = {"features": FEATURES, "modalities": ["ct", "mri"]}
    ancestor = {"file": "model.pt", "sha256": "0" * 64}
    described = pretraining_provenance(INDEX, GenesisCorruption(), settings, ancestor=ancestor)
    assert (described["continued_from"], described["modalities"]) == (ancestor, ["ct", "mri"])
    assert "continued_from" not in pretraining_provenance(INDEX, GenesisCorruption(), settings)


def test_what_the_provenance_of_a_task_says():
    settings = {
        "features": FEATURES,
        "spacing": [1, 1, 1],
        "foreground_crop": "true",
        "epochs": 9,
        "label_fraction": 0.3,
    }
    stated = {"features": FEATURES, "spacing": [1, 1, 1], "foreground_crop": True, "label_fraction": 0.3}
    described = task_provenance({**settings, "pretrained_weights": Path("a.pt")})
    assert described == {**stated, "method": "Universal Model target task", "axes": "RAS", "pretrained_weights": "a.pt"}
    assert task_provenance({"pretrained_weights": "null"})["pretrained_weights"] is None
    assert differences(described, settings | {"label_fraction": 1.0}) == []
    changed = {**settings, "spacing": [2, 2, 2], "foreground_crop": False, "epochs": 1, "seed": 4}
    assert differences(described, changed) == [
        "spacing [1, 1, 1], this run has [2, 2, 2]",
        "foreground_crop True, this run has False",
    ]


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype"])
def test_the_hash_is_of_names_types_shapes_and_values(change, state):
    changed = dict(reversed(state.items()))
    assert tensors_sha256(changed) == tensors_sha256(state)
    name = "encoder.levels.0.conv1.weight"
    if change == "value":
        changed[name] = changed[name].clone()
        changed[name].view(-1)[5] += 1e-6
    elif change == "name":
        changed["other"] = changed.pop(name)
    elif change == "shape":
        changed[name] = changed[name].reshape(-1)
    else:
        changed[name] = changed[name].half()
    assert tensors_sha256(changed) != tensors_sha256(state)


def test_both_containers_carry_it(provenance, state, tmp_path):
    for name in ("model.pt", "model.safetensors"):
        write_weights(tmp_path / name, state, provenance)
    assert json.loads((tmp_path / "model.provenance.json").read_text()) == provenance
    with safe_open(tmp_path / "model.safetensors", "pt") as content:
        assert json.loads(content.metadata()["provenance"]) == provenance
    plain = torch.load(tmp_path / "model.pt", weights_only=True)
    for loaded in (plain, load_file(tmp_path / "model.safetensors")):
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.provenance.json", "model.pt", "model.safetensors"]
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1  # who may read one may read all


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_tensors_that_are_not_the_provenance_records_are_refused(name, provenance, state, tmp_path):
    write_weights(tmp_path / name, state, provenance)
    load_pretrained(UNet(1, 1, FEATURES), tmp_path / name)
    other = {**state, "encoder.levels.0.conv1.bias": state["encoder.levels.0.conv1.bias"] + 1e-3}
    if name.endswith(".pt"):
        torch.save(other, tmp_path / name)
        with pytest.raises(ValueError, match="not those of its provenance"):
            load_weights(UniversalModel(features=FEATURES), tmp_path / name)
    else:
        save_file(other, tmp_path / name, metadata={"provenance": json.dumps(provenance)})
    with pytest.raises(ValueError, match=r"the tensors of .* are not those of its provenance: download") as caught:
        load_pretrained(UNet(1, 1, FEATURES), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_provenance_that_is_none_is_named(state, tmp_path):
    torch.save(state, tmp_path / "model.pt")
    for text in ("{", "[1]"):
        provenance_file(tmp_path / "model.pt").write_text(text)
        with pytest.raises(ValueError, match=r"model\.provenance\.json: no provenance") as caught:
            load_pretrained(UNet(1, 1, FEATURES), tmp_path / "model.pt")
        assert "\n" not in str(caught.value)


def test_a_kill_while_writing_leaves_no_provenance_of_other_weights(provenance, state, tmp_path, monkeypatch):
    write_weights(tmp_path / "model.pt", state, provenance)
    other = {name: tensor + 1 for name, tensor in state.items()}

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("universal_model_components.weights.provenance.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        write_weights(tmp_path / "model.pt", other, complete(None, other))
    monkeypatch.undo()
    load_pretrained(UNet(1, 1, FEATURES), tmp_path / "model.pt")


SAME = {"spacing": (1, 1, 1), "intensity_range": [0, 4000], "intensity_scale": "volume"}


def test_the_own_range_of_each_scan_is_a_recipe_too():
    assert differences({"intensity_range": "null"}, {"intensity_range": None}) == []
    assert len(differences({"intensity_range": None}, {"intensity_range": [0, 4000]})) == 1


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        [SAME, []],
        [{**SAME, "spacing": [2.0, 1.0, 1.0]}, ["spacing"]],
        [
            {**SAME, "intensity_range": [-200, 300], "intensity_scale": "z-score"},
            ["intensity_range", "intensity_scale"],
        ],
        [{"spacing": [1.0, 1.0, 1.0], "label_values": None}, []],
        [{**SAME, "intensity_range": None}, ["intensity_range"]],
        [{"intensity_range": {"ct": (-1000, 1000), "mri": [0, 4000], "pet": None}}, []],
        [{"intensity_scale": {"ct": "volume", "mri": "volume"}}, ["intensity_scale"]],
    ],
)
def test_another_recipe_warns_in_one_line(recipe, named, provenance, state, tmp_path, caplog):
    write_weights(tmp_path / "model.pt", state, provenance)
    assert [line.split()[0] for line in differences(provenance, recipe)] == named
    for load in (load_pretrained, load_weights):
        caplog.clear()
        load(UniversalModel(features=FEATURES), tmp_path / "model.pt", recipe=recipe)
        warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == bool(named)
        assert all(name in warnings[0] and "\n" not in warnings[0] for name in named)


def test_a_provenance_is_read_from_the_header_or_beside_the_file(tmp_path):
    state = UNet(features=FEATURES).state_dict()
    assert read_provenance(tmp_path / "none.pt", {}) is None
    assert read_provenance(tmp_path / "none.safetensors", {"provenance": '{"seed": 3}'}) == {"seed": 3}
    write_weights(tmp_path / "model.pt", state, complete({"seed": 4}, state))
    assert read_provenance(tmp_path / "model.pt", {})["seed"] == 4
    provenance_file(tmp_path / "model.pt").write_text("[1]")
    with pytest.raises(ValueError, match=r"no provenance \(a list\): download or write the weights again"):
        read_provenance(tmp_path / "model.pt", {})
