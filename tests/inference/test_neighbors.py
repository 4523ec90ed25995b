# SPDX-License-Identifier: Apache-2.0
"""A result does not depend on what else is in the batch, where a network normalizes by the batch's own statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from universal_model_components.inference.classification import CandidateInferer
from universal_model_components.inference.neighbors import samples_at_a_time
from universal_model_components.inference.sliding_window import FastSlidingWindowInferer
from universal_model_components.method.models import ClassificationModel, SegmentationModel

WIDTH = [4, 8]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        [nn.BatchNorm3d(1), 4],
        [nn.Sequential(nn.BatchNorm3d(1, track_running_stats=False)), 1],
        [nn.InstanceNorm3d(1), 4],
        [lambda cubes: cubes, 4],
    ],
)
def test_one_at_a_time_only_where_it_matters(network, expected):
    assert samples_at_a_time(network, 4) == expected


@torch.no_grad()
@pytest.mark.parametrize("compile", [False, True])
def test_windows_of_a_volume(generator, compile, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network, **settings: network)
    network = SegmentationModel(features=WIDTH, batch_statistics=True).eval()
    volume = torch.rand(1, 1, 12, 8, 8, generator=generator)
    masks = [
        FastSlidingWindowInferer((8, 8, 8), size, overlap=0.5, compile=compile)(volume, network) for size in (1, 4)
    ]
    torch.testing.assert_close(masks[0], masks[1])
    first = FastSlidingWindowInferer((8, 8, 8), 4, overlap=0.5, compile=compile)
    first(volume, network)
    assert first.sw_batch_size == 4


@torch.no_grad()
def test_candidates_of_a_scan(generator):
    network = ClassificationModel(num_classes=2, features=WIDTH, batch_statistics=True).eval()
    scan, centers = torch.rand(1, 1, 12, 12, 12, generator=generator), torch.tensor([[[4, 4, 4], [7, 7, 7], [5, 8, 6]]])
    logits = [CandidateInferer((8, 8, 8), size)(scan, network, centers=centers) for size in (1, 2, 3)]
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(logits[0], logits[2])
