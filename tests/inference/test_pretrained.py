# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from original_network import original_state
from torch import nn

import universal_model_components
from universal_model_components.inference.pretrained import UniversalModel
from universal_model_components.method import models
from universal_model_components.weights.provenance import complete, task_provenance, write_weights

FEATURES = [4, 8, 16, 32]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"features": [4, 8], "num_modalities": 3, "num_scales": 2, "in_channels": 2},
        {"mial": False, "scale_classifier": False, "batch_statistics": True},
    ],
)
def test_a_model_is_as_it_was_trained(settings, tmp_path, generator, capsys):
    trained = models.UniversalModel(**{"features": FEATURES, **settings})
    state = trained.state_dict()
    write_weights(tmp_path / "models" / "model.pt", state, complete({}, state))
    made = universal_model_components.UniversalModel.from_pretrained(tmp_path)
    assert isinstance(made, models.UniversalModel)
    assert not made.training
    assert f"weights from {tmp_path / 'models' / 'model.pt'}" in capsys.readouterr().out
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.state_dict().items())
    image = torch.rand(2, settings.get("in_channels", 1), 16, 16, 16, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(made(image), trained.eval()(image))


def test_further_arguments_and_original_weights(tmp_path):
    torch.save({"state_dict": original_state(FEATURES)}, tmp_path / "Genesis.pt")
    made = UniversalModel.from_pretrained(tmp_path / "Genesis.pt", outputs="all")
    assert set(made(torch.rand(2, 1, 16, 16, 16))) == {"restoration"}
    assert not made.encoder.levels[0].norm1.track_running_stats


def test_it_scripts():
    torch.jit.script(UniversalModel(features=[4, 8]).eval())


def of_a_task() -> tuple[nn.Module, dict]:
    return models.SegmentationModel(features=[4, 8]), task_provenance({})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_a_task, r"model\.pt are weights of a target task, expected a pre-training's"),
        (lambda: (models.ClassificationModel(features=[4, 8]), {}), r"covers 0\.0% of decoder, expected 100\.0%"),
        (lambda: (nn.Linear(2, 2), {}), r"model\.pt has no encoder of this network: give a pre-training's"),
    ],
)
def test_other_weights_are_refused_in_one_line(make, message, tmp_path):
    network, provenance = make()
    write_weights(tmp_path / "model.pt", network.state_dict(), complete(provenance, network.state_dict()))
    with pytest.raises(ValueError, match=rf"^pretrained_weights: .*{message}") as caught:
        UniversalModel.from_pretrained(tmp_path / "model.pt")
    assert "\n" not in str(caught.value)
