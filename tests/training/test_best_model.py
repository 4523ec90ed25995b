# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from types import SimpleNamespace

import torch
from safetensors.torch import load_file

from universal_model_components.training.best_model import write_model


def test_a_model_is_written_in_two_containers_with_one_provenance(tmp_path):
    network = torch.nn.Linear(3, 2)
    metrics = {"val_iou": 0.5, "broken": math.nan, "per_class": torch.rand(2)}
    engine = SimpleNamespace(state=SimpleNamespace(epoch=7, metrics=metrics))
    write_model(network, tmp_path / "models", {"method": "test"}, engine)
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    other = load_file(tmp_path / "models" / "model.safetensors")
    assert state.keys() == other.keys() == network.state_dict().keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    (beside,) = (tmp_path / "models").glob("*.json")
    provenance = json.loads(beside.read_text())
    assert (provenance["method"], provenance["epoch"]) == ("test", 7)
    assert provenance["metrics"] == {"broken": None, "val_iou": 0.5}
