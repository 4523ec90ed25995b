# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch.utils.data import DataLoader
from trainers import WIDTH, TensorCubes

from universal_model_components.method.genesis import cubes_and_seeds
from universal_model_components.method.trainer import PretrainingTrainer, parameter_groups
from universal_model_components.pretext.objective import PretextObjective
from universal_model_components.pretext.rotation import RotationModel, RotationTask


def test_the_loss_is_the_mean_cross_entropy():
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.0, 3.0]])
    targets = torch.tensor([1, 0])
    rows = zip(logits.tolist(), targets.tolist(), strict=True)
    by_hand = [-math.log(math.exp(row[t]) / sum(map(math.exp, row))) for row, t in rows]
    losses = PretextObjective("rotation")({"rotation": logits.bfloat16()}, {"rotation": targets})
    assert losses.keys() == {"rotation", "loss"}
    assert float(losses["loss"]) == float(losses["rotation"]) == pytest.approx(sum(by_hand) / 2, rel=1e-5)


def test_seeds_are_the_batch_s_or_drawn():
    cubes = torch.rand(3, 1, 4, 4, 4)
    image, seeds = cubes_and_seeds({"image": cubes, "seed": torch.tensor([5, 6, 7])}, torch.device("cpu"), True)
    assert torch.equal(image, cubes)
    assert seeds.tolist() == [5, 6, 7]
    assert len(cubes_and_seeds({"image": cubes})[1].unique()) == 3


def test_the_trainer_trains_a_part_without_restoration():
    network = RotationModel(features=WIDTH, hidden_channels=16)
    groups = parameter_groups(network, {"unet": 0.01, "classifier": 0.02})
    assert [(group["name"], group["lr"]) for group in groups] == [("unet", 0.01), ("classifier", 0.02)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainer = PretrainingTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(TensorCubes(8), batch_size=4),
        network=network,
        optimizer=torch.optim.Adam(groups),
        loss_function=PretextObjective("rotation"),
        prepare_batch=RotationTask().prepare_batch,
        part="rotation",
    )
    trainer.run()
    output = trainer.state.output
    assert len(output) == 4
    assert output[0]["pred"].shape == (10,)
    assert output[0]["label"] in range(10)
    assert output[0]["loss"] == output[0]["loss_rotation"] > 0
    for part in ("encoder", "classifier"):
        assert any(not torch.equal(before[n], p) for n, p in network.named_parameters() if n.startswith(part))
