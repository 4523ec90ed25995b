# SPDX-License-Identifier: Apache-2.0
"""Weights of evaluation and inference: the network's own, and of its task."""

from __future__ import annotations

import pytest
import torch

from universal_model_components.method.unet import UNet
from universal_model_components.weights.coverage import unused_statistics
from universal_model_components.weights.loading import read_plain, warn_of_differences
from universal_model_components.weights.provenance import (
    BATCH_STATISTICS,
    METHOD_OF_A_TASK,
    complete,
    write_weights,
)
from universal_model_components.weights.recipe import trained_with
from universal_model_components.weights.strict import check_weights


def test_statistics_that_a_network_does_not_use_are_told_from_those_it_lacks():
    own = UNet(1, 1, [4, 8], batch_statistics=True).state_dict()
    other = UNet(1, 1, [4, 8], batch_statistics=False).state_dict()
    unused = {name for name in other if unused_statistics(name, own)}
    assert unused == other.keys() - own.keys()
    assert not any(unused_statistics(name, other) for name in other)


def test_a_plain_file_comes_with_its_provenance(tmp_path, caplog):
    network = UNet(1, 1, [4, 8])
    state = network.state_dict()
    torch.save(state, tmp_path / "alone.pt")
    assert read_plain(tmp_path / "alone.pt")[1] is None
    write_weights(tmp_path / "model.pt", state, complete({"spacing": [1, 1, 1]}, state))
    found, provenance = read_plain(tmp_path / "model.pt")
    assert set(found) == set(state)
    warn_of_differences(network, "model.pt", provenance, {"spacing": [1, 1, 1]})
    assert caplog.text == ""
    warn_of_differences(network, "model.pt", provenance, {"spacing": [2, 2, 2]})
    assert "model.pt was trained with spacing [1, 1, 1], this run has [2, 2, 2]: is that meant?" in caplog.text


def test_original_weights_run_with_the_statistics_that_their_provenance_states(tmp_path):
    """They keep running statistics that they do not use."""
    state = UNet(1, 1, [4, 8], batch_statistics=False).state_dict()
    write_weights(tmp_path / "model.pt", state, complete({"normalization": BATCH_STATISTICS}, state))
    assert trained_with(tmp_path / "model.pt", batch_statistics=False) == {"batch_statistics": True}
    network = UNet(1, 1, [4, 8], batch_statistics=True)
    assert set(check_weights(network, tmp_path / "model.pt")) == set(network.state_dict())


@pytest.mark.parametrize(
    ("provenance", "recipe", "message"),
    [
        [{"method": METHOD_OF_A_TASK, "task": "liver"}, {"task": "heart"}, "was trained with task liver, this run has"],
        [{"method": "Universal Model pre-training"}, {"task": "heart"}, "expected those of the task heart: train it"],
        [{"method": METHOD_OF_A_TASK, "task": "liver"}, {"spacing": [1, 1, 1]}, "expected a pre-training's"],
        [{"method": METHOD_OF_A_TASK}, {"task": "heart"}, None],
        [{"method": METHOD_OF_A_TASK, "task": "heart"}, {"task": "heart"}, None],
        [{"method": METHOD_OF_A_TASK, "task": "liver"}, None, None],
        [{}, {"task": "heart"}, None],
    ],
)
def test_weights_of_another_task_are_refused(provenance, recipe, message, tmp_path):
    network = UNet(1, 1, [4, 8])
    state = network.state_dict()
    write_weights(tmp_path / "model.pt", state, complete(provenance, state))
    if message is None:
        check_weights(network, tmp_path / "model.pt", recipe)
    else:
        with pytest.raises(ValueError, match=f"^pretrained_weights: .*{message}"):
            check_weights(network, tmp_path / "model.pt", recipe)
