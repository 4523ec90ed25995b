# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
import torch
from original_network import original_state

from universal_model_components.method.models import ClassificationModel, SegmentationModel, UniversalModel
from universal_model_components.pretext.jigsaw import JigsawModel
from universal_model_components.pretext.rotation import RotationModel
from universal_model_components.weights.continuation import continue_pretraining, describe_ancestor
from universal_model_components.weights.coverage import is_one_of
from universal_model_components.weights.files import open_weights
from universal_model_components.weights.provenance import (
    METHOD_OF_A_TASK,
    complete,
    tensors_sha256,
    write_weights,
)

FEATURES = [4, 8, 16, 32]
BOTH = ["ct", "mri"]
MODALITIES = {"modalities": BOTH}
ALL = ["decoder", "discriminator", "encoder", "scale_classifier"]


def save(folder, network, **stated):
    """Write a network's weights with a provenance, and return the file."""
    state = network.state_dict()
    write_weights(folder / "model.pt", state, complete({"method": "test", **stated}, state, epoch=4))
    return folder / "model.pt"


@pytest.mark.parametrize(
    ("network", "earlier", "stated", "modalities", "new"),
    [
        (UniversalModel, UniversalModel, MODALITIES, BOTH, []),
        (UniversalModel, UniversalModel, MODALITIES, ["mri", "ct"], ["discriminator"]),  # labels would be exchanged
        (UniversalModel, UniversalModel, {}, BOTH, ["discriminator"]),
        (UniversalModel, SegmentationModel, {}, BOTH, ["discriminator", "scale_classifier"]),
        (
            UniversalModel,
            SegmentationModel,
            {"method": METHOD_OF_A_TASK},
            BOTH,
            ["decoder.head", "discriminator", "scale_classifier"],
        ),
        (UniversalModel, RotationModel, MODALITIES, BOTH, ["decoder", "discriminator", "scale_classifier"]),
        (RotationModel, UniversalModel, MODALITIES, BOTH, ["classifier"]),
        (JigsawModel, ClassificationModel, {}, BOTH, ["classifier", "permutations"]),
        (RotationModel, RotationModel, {}, BOTH, []),
    ],
)
def test_parts_that_fit_are_loaded_and_the_others_start_anew(network, earlier, stated, modalities, new, tmp_path):
    file = save(tmp_path, earlier(features=FEATURES), **stated)
    given, made = open_weights(file).state, network(features=FEATURES)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    ancestor = continue_pretraining(made, file, modalities)
    assert ancestor["new"] == new
    for name, tensor in made.state_dict().items():
        expected = before if is_one_of(name, new) else given
        assert torch.equal(tensor, expected[name]), name


def test_a_third_modality_gives_a_new_discriminator(tmp_path):
    file = save(tmp_path, UniversalModel(features=FEATURES), **MODALITIES)
    ancestor = continue_pretraining(UniversalModel(features=FEATURES, num_modalities=3), file, [*BOTH, "pet"])
    assert ancestor["new"] == ["discriminator"]


def test_what_is_said_of_the_ancestor(tmp_path, capsys):
    data = {"scans": {"license": "CC BY 4.0", "cases": {"ct": {"training": 3}}}}
    file = save(tmp_path, UniversalModel(features=FEATURES), **MODALITIES, data=data, spacing=[1, 1, 1])
    ancestor = continue_pretraining(UniversalModel(features=FEATURES), file, BOTH)
    assert ancestor == {
        "file": "model.pt",
        "sha256": tensors_sha256(open_weights(file).state),
        "loaded": ALL,
        "new": [],
        "method": "test",
        "modalities": BOTH,
        "data": data,
        "epoch": 4,
    }
    assert re.search(r"^scale_classifier +4 .* 100\.0%$", capsys.readouterr().out, re.MULTILINE)


def test_original_weights_have_encoder_and_decoder(tmp_path, caplog):
    state = original_state(FEATURES)
    torch.save({"state_dict": state}, tmp_path / "Genesis_Chest_CT.pt")
    ancestor = continue_pretraining(UniversalModel(features=FEATURES), tmp_path / "Genesis_Chest_CT.pt", BOTH)
    assert (ancestor["file"], ancestor["sha256"]) == ("Genesis_Chest_CT.pt", tensors_sha256(state))
    assert (ancestor["loaded"], ancestor["new"]) == (["decoder", "encoder"], ["discriminator", "scale_classifier"])
    assert "give batch_statistics true" in caplog.text


def test_an_ancestor_is_described_without_folders_and_unknown_entries():
    stated = {"license": "CC BY-SA 4.0", "sha256": "of the file", "seed": 3}
    described = describe_ancestor("/someone/models/model.pt", "abc", stated)
    assert described == {"file": "model.pt", "sha256": "abc", "license": "CC BY-SA 4.0"}


@pytest.mark.parametrize("nothing", [None, "null"])
def test_from_scratch(nothing):
    assert continue_pretraining(UniversalModel(features=FEATURES), nothing, BOTH) is None


def test_another_width_and_another_recipe_are_named(tmp_path, caplog):
    file = save(tmp_path, UniversalModel(features=[4, 8]), **MODALITIES, spacing=[1, 1, 1])
    with pytest.raises(ValueError, match=r'give --features "\[4, 8\]"$'):
        continue_pretraining(UniversalModel(features=FEATURES), file, BOTH)
    continue_pretraining(UniversalModel(features=[4, 8]), file, BOTH, {"spacing": [2, 2, 2]})
    assert "was trained with spacing [1, 1, 1], this run has [2, 2, 2]" in caplog.text


def test_weights_that_the_run_would_replace_are_refused(tmp_path):
    file = save(tmp_path, UniversalModel(features=FEATURES), **MODALITIES)
    for source in (file, tmp_path):
        with pytest.raises(
            ValueError, match=r"^pretrained_weights: .*model\.pt is in ckpt_dir, .* give another bundle_root"
        ):
            continue_pretraining(UniversalModel(features=FEATURES), source, BOTH, ckpt_dir=tmp_path)
    continue_pretraining(UniversalModel(features=FEATURES), file, BOTH, ckpt_dir=tmp_path / "models")
