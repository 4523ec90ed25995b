# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
import torch

from universal_model_components.method.unet import UNet
from universal_model_components.weights.provenance import complete, write_weights
from universal_model_components.weights.recipe import image_recipe, trained_with
from universal_model_components.weights.strict import check_weights

OWN = {"features": [64, 128], "spacing": [1.0, 1.0, 1.0], "intensity_range": [0, 4000], "patch_size": [64, 64, 32]}
STATED = {"spacing": [2.0, 2.0, 2.0], "intensity_range": {"ct": [-1000, 1000], "mri": [0, 3000]}}


@pytest.fixture
def write(tmp_path):
    """Write weights with a provenance, and return the file."""

    def make(stated, name="model.pt"):
        state = UNet(1, 1, [4, 8]).state_dict()
        write_weights(tmp_path / name, state, complete(stated, state))
        return tmp_path / name

    return make


@pytest.mark.parametrize("follow", [False, "false"])
def test_the_own_settings_are_used_and_no_file_is_read(follow):
    assert image_recipe(follow, "nowhere.pt", "mri", **OWN) == OWN


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_what_the_provenance_states_is_followed_and_logged_in_one_line(name, write, caplog):
    file = write({**STATED, "features": [4, 8], "foreground_crop": True}, name)
    with caplog.at_level(logging.INFO):
        recipe = image_recipe("true", str(file), "mri", **OWN)
    assert recipe == {**OWN, "features": [4, 8], "spacing": [2.0, 2.0, 2.0], "intensity_range": [0, 3000]}
    changes = "features [4, 8] instead of [64, 128]; spacing [2.0, 2.0, 2.0] instead of [1.0, 1.0, 1.0]; "
    changes += "intensity_range [0, 3000] instead of [0, 4000]"
    assert caplog.messages == [f"follow_pretraining: as in {file}: {changes}"]


def test_intensities_of_another_modality_are_not_followed(write, caplog):
    with caplog.at_level(logging.INFO):
        recipe = image_recipe(True, write({"intensity_range": {"ct": [-1000, 1000]}}), "mri", **OWN)
    assert recipe == OWN
    assert "intensity_range [0, 4000] kept, it states none for 'mri'" in caplog.text


def test_a_fine_tuned_model_states_plain_values(write, caplog):
    with caplog.at_level(logging.INFO):
        assert image_recipe(True, write({**OWN, "intensity_range": None}), **OWN) == {**OWN, "intensity_range": None}
        assert image_recipe(True, write(OWN), **OWN) == OWN
    assert caplog.messages[-1].endswith("nothing changes")


def test_weights_that_cannot_be_followed_are_named(write, tmp_path):
    torch.save(UNet(1, 1, [4, 8]).state_dict(), tmp_path / "bare.pt")
    for file in (tmp_path / "bare.pt", write({"features": [4, 8], "seed": 1})):
        with pytest.raises(ValueError, match=rf"^follow_pretraining: {file} has no provenance that states") as caught:
            image_recipe(True, file, "mri", **OWN)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^follow_pretraining: there are no pretrained_weights to follow"):
        image_recipe(True, "null", "mri", **OWN)
    with pytest.raises(ValueError, match=r"^follow_pretraining: 'maybe' is not a boolean"):
        image_recipe("maybe", None, "mri", **OWN)


def test_settings_are_those_of_the_weights(tmp_path):
    defaults = {"features": [64, 128], "patch_size": [64, 64, 32]}
    assert trained_with(None, **defaults) == defaults
    for nowhere in (tmp_path / "model.pt", "", "a" * 300):
        assert trained_with(nowhere, **defaults) == defaults
    state = {"w": torch.zeros(1)}
    write_weights(tmp_path / "model.pt", state, complete({"features": [16, 32], "seed": 3}, state))
    for weights in (tmp_path / "model.pt", tmp_path):  # a folder, as for loading
        assert trained_with(weights, **defaults) == {"features": [16, 32], "patch_size": [64, 64, 32]}


@pytest.mark.parametrize("own", [True, False])
def test_whose_statistics_normalize_is_as_in_the_training(own, tmp_path):
    state = UNet(1, 1, [4, 8], batch_statistics=own).state_dict()
    write_weights(tmp_path / "model.pt", state, complete({}, state))
    assert trained_with(tmp_path / "model.pt", batch_statistics=not own) == {"batch_statistics": own}
    assert trained_with(tmp_path / "none.pt", batch_statistics=own) == {"batch_statistics": own}
    with pytest.raises(ValueError, match=f"give batch_statistics {str(own).lower()}, as in its training"):
        check_weights(UNet(1, 1, [4, 8], batch_statistics=not own), tmp_path / "model.pt")


@pytest.mark.parametrize(("modality", "expected"), [(None, {"ct": [-9, 9]}), ("ct", [-9, 9]), ("mri", [0, 4000])])
def test_settings_by_modality_are_those_of_the_runs_own(modality, expected, tmp_path):
    state = {"w": torch.zeros(1)}
    write_weights(tmp_path / "model.pt", state, complete({"intensity_range": {"ct": [-9, 9]}}, state))
    (tmp_path / "model.onnx").write_bytes(b"")  # has the same provenance beside it
    for name in ("model.pt", "model.onnx"):
        assert trained_with(tmp_path / name, modality, intensity_range=[0, 4000]) == {"intensity_range": expected}
