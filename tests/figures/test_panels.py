# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from trainers import WIDTH, TensorCubes, make_evaluator

from universal_model_components.figures.panels import RestorationPanels
from universal_model_components.method.models import UniversalModel


def test_panels_are_drawn_when_due(tmp_path):
    drawn = []
    panels = RestorationPanels(str(tmp_path), 2, lambda *tensors_and_file: drawn.append(tensors_and_file))
    validator = make_evaluator(UniversalModel(features=WIDTH, outputs="all"), [panels])
    for epoch in (1, 2, 3, 4):
        validator.run(epoch)
    assert [call[3].name for call in drawn] == ["epoch_0002.png", "epoch_0004.png"]
    assert {call[3].parent for call in drawn} == {tmp_path / "panels"}
    original, corrupted, restored = drawn[0][:3]
    assert original.shape == corrupted.shape == restored.shape == (4, 1, 16, 16, 16)
    assert torch.equal(original, torch.stack([TensorCubes(6, seed=1)[i]["image"] for i in range(4)]))
    assert 0 <= restored.min() <= restored.max() <= 1
