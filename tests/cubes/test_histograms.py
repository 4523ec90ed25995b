# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from universal_model_components.cubes import histograms
from universal_model_components.cubes.histograms import (
    BINS,
    count_intensities,
    count_normalized,
    sample,
    spread,
)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_sample_is_of_all_parts_of_a_volume(monkeypatch, order):
    monkeypatch.setattr(histograms, "SAMPLE", 1000)
    volume = np.zeros((32, 32, 32), np.int16, order=order)
    volume[:, :, 8:] = 1  # three quarters
    taken = sample(volume)
    assert 900 < len(taken) < 1100
    assert taken.dtype == torch.float32
    assert abs(float(taken.mean()) - 0.75) < 0.02
    assert len(sample(volume[:5, :5, :5])) == 125


def test_what_lies_beyond_the_window_is_counted_at_the_ends():
    counts, ends = count_intensities(torch.tensor([-3024.0, -1000.0, 0.0, 1000.0, 9000.0]), (-1000, 1000))
    assert ends == (-1500, 1500)
    assert counts.sum() == 5
    assert counts[0] == counts[-1] == 1
    assert np.flatnonzero(counts).tolist()[1:-1] == [int(BINS * place) for place in (1 / 6, 1 / 2, 5 / 6)]


def test_without_a_window_the_axis_is_the_scans_own():
    counts, ends = count_intensities(torch.tensor([2.0, 3.0, 10.0]), None)
    assert ends == (2, 10)
    assert counts[[0, BINS // 8, -1]].tolist() == [1, 1, 1]


def test_normalized_volumes_are_counted_between_0_and_1():
    counts = count_normalized(torch.tensor([0.0, 0.5, 1.0, 1.0]).reshape(2, 2, 1))
    assert counts[0] == 1
    assert counts[-1] == 2
    assert counts.sum() == 4


def test_spread_keeps_the_total_and_splits_bins_evenly():
    counts = np.array([4, 0, 2, 2])  # bins of 1 from 0 to 4
    np.testing.assert_allclose(spread(counts, (0, 4), np.array([0, 0.5, 1, 4])), [0.25, 0.25, 0.5])
    np.testing.assert_allclose(spread(counts, (0, 4), np.array([-np.inf, 2.5, np.inf])), [5 / 8, 3 / 8])
    assert spread(counts, (0, 4), np.array([2.0, 3.0])).tolist() == [0.25]
