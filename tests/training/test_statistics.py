# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from ignite.engine import Engine
from torch import nn

from universal_model_components.training.statistics import ReestimatedStatistics


def engine_of(network):
    engine = Engine(lambda engine, batch: network(batch["image"]))
    engine.state.device = torch.device("cpu")
    return engine


def test_the_first_step_finds_the_statistics_of_an_epoch(generator):
    cubes = [{"image": 3 + 2 * torch.randn(4, 2, 4, 4, 4, generator=generator)} for _ in range(3)]
    network = nn.BatchNorm3d(2).eval()
    network.running_mean.fill_(50)
    engine = engine_of(network)
    ReestimatedStatistics(network, cubes).attach(engine)
    engine.run(cubes, max_epochs=2)
    means = torch.stack([cube["image"].mean(dim=(0, 2, 3, 4)) for cube in cubes])
    variances = torch.stack([cube["image"].var(dim=(0, 2, 3, 4)) for cube in cubes])
    torch.testing.assert_close(network.running_mean, means.mean(dim=0))
    torch.testing.assert_close(network.running_var, variances.mean(dim=0))
    assert (int(network.num_batches_tracked), network.momentum, network.training) == (3, 0.1, False)


def test_a_resumed_run_keeps_its_own():
    network = nn.BatchNorm3d(2).eval()
    network.running_mean.fill_(50)
    engine, cubes = engine_of(network), [{"image": torch.randn(4, 2, 4, 4, 4)}]
    ReestimatedStatistics(network, cubes).attach(engine)
    engine.load_state_dict({"epoch": 1, "max_epochs": 2, "epoch_length": 1})
    engine.run(cubes)
    assert float(network.running_mean[0]) == 50
