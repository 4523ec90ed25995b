# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from universal_model_components.evaluation.probes import (
    describe_probe,
    draw_evenly,
    linear_probe,
    measure_features,
)
from universal_model_components.method.models import UniversalModel

FEATURES = [4, 8, 16, 32]


@pytest.mark.parametrize(
    ("supply", "count", "expected"),
    [
        [{"a": 10, "b": 10}, 6, {"a": 3, "b": 3}],
        [{"a": 1, "b": 10, "c": 10}, 9, {"a": 1, "b": 4, "c": 4}],
        [{"a": 3, "b": 2}, 100, {"a": 3, "b": 2}],
        [{"a": 3}, 0, {}],
        [{}, 5, {}],
    ],
)
def test_draw_evenly_over_cases(supply, count, expected):
    cases = [case for case, number in supply.items() for _ in range(number)]
    chosen = draw_evenly(cases, count, seed=1)
    assert chosen == sorted(set(chosen)) == draw_evenly(cases, count, seed=1)
    assert Counter(cases[position] for position in chosen) == expected


def test_draw_evenly_follows_the_seed():
    assert draw_evenly(["a"] * 50, 10, seed=1) != draw_evenly(["a"] * 50, 10, seed=2)


def test_linear_probe_reads_what_is_there_and_not_more(generator):
    labels = torch.randint(2, (400,), generator=generator)
    noise = torch.randn(400, 8, generator=generator)
    informative = noise.clone()
    informative[:, 3] += 4 * labels
    halves = slice(0, 200), slice(200, 400)
    scores = [
        linear_probe(*(part.numpy() for half in halves for part in (features[half], labels[half])))
        for features in (informative, noise)
    ]
    assert scores[0] > 0.95
    assert 0.35 < scores[1] < 0.65


def test_linear_probe_is_balanced(generator):
    labels = (torch.arange(300) % 10 == 0).long()  # one in ten
    features = torch.randn(300, 4, generator=generator).numpy()
    score = linear_probe(features, labels.numpy(), features, labels.numpy())
    assert score < 0.8  # the plain accuracy of a constant answer would be 0.9


def test_describe_probe_states_chance():
    report = describe_probe(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]), ["large", "medium", "small"])
    assert report["chance"] == 0.5
    assert report["majority"] == 0.75
    assert report["classes"] == ["large", "medium"]
    assert report["metric"] == "balanced accuracy"
    assert (report["train_cubes"], report["test_cubes"]) == (4, 4)


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        [[0, 0], [0, 1], "the training cases have only 'ct' cubes"],
        [[0, 1], [1, 1], "the held-out cases have only 'mri' cubes"],
        [[], [0, 1], "the training cases have no cubes"],
        [[0, 1], [0, 2], "the training cases have no 'pet' cubes"],
    ],
)
def test_describe_probe_says_why_it_cannot_be_run(train, test, reason):
    labels = [np.array(values, dtype=np.int64) for values in (train, test)]
    report = describe_probe(*labels, ["ct", "mri", "pet"])
    assert report["skipped"].startswith(reason)
    assert "chance" not in report


def test_measure_features_does_not_depend_on_batches(generator):
    network = UniversalModel(features=FEATURES).eval()
    cubes = torch.rand(5, 1, 16, 16, 16, generator=generator)

    def batches(size):
        for first in range(0, 5, size):
            part = torch.arange(5)[first : first + size]
            yield {"image": cubes[part], "seed": part, "modality": part % 2, "scale": part % 3}

    def corruption(image, seeds):
        return image * (1 + seeds[:, None, None, None, None]) / 8, image

    one, labels = measure_features(network, batches(1), corruption)
    many, _ = measure_features(network, batches(2), corruption)
    assert labels["modality"].tolist() == [0, 1, 0, 1, 0]
    assert labels["scale"].tolist() == [0, 1, 2, 0, 1]
    for given in ("clean", "corrupted"):
        assert [level.shape for level in one[given]] == [(5, width) for width in FEATURES]
        for left, right in zip(one[given], many[given], strict=True):
            np.testing.assert_allclose(left, right, atol=1e-5)
    assert not np.allclose(one["clean"][0], one["corrupted"][0])


def test_measure_features_of_no_cubes():
    arrays, labels = measure_features(UniversalModel(features=FEATURES).eval(), [], lambda image, seeds: (image, image))
    assert arrays == {"clean": [], "corrupted": []}
    assert labels["scale"].shape == (0,)
