# SPDX-License-Identifier: Apache-2.0
"""Comparison of systems: known differences are covered, null cases stay null, small tests agree with enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from universal_model_components.experiments.scoring import Cases
from universal_model_components.experiments.statistics import (
    Difference,
    Ranks,
    holm,
    paired_difference,
    pool,
    rank_systems,
    resamples,
    sign_flip_test,
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def draw_pair(random, seeds: int, cases: int, difference: float, seed_spread: float, case_spread: float):
    """Scores of two systems whose difference varies by seed, by case, and by both."""
    baseline = 0.5 + 0.1 * random.normal(size=(1, cases)) + 0.05 * random.normal(size=(seeds, 1))
    shift = difference + seed_spread * random.normal(size=(seeds, 1)) + case_spread * random.normal(size=(1, cases))
    return baseline + shift + 0.01 * random.normal(size=(seeds, cases)), np.broadcast_to(baseline, (seeds, cases))


def test_resamples_draw_seeds_and_cases_with_replacement(monkeypatch):
    monkeypatch.setattr("universal_model_components.experiments.statistics._CHUNK", 40)
    chunks = list(resamples(3, 10, 9, seed=1))
    assert [len(seeds) for seeds, _ in chunks] == [4, 4, 1]
    for seeds, cases in chunks:
        assert (seeds.sum(axis=1) == 3).all()
        assert (cases.sum(axis=1) == 10).all()
    np.testing.assert_array_equal(chunks[1][1], list(resamples(3, 10, 9, seed=1))[1][1])


@pytest.mark.parametrize(("seed_spread", "case_spread"), [(0.05, 0.0), (0.0, 0.05), (0.05, 0.1)])
@pytest.mark.parametrize(("seeds", "difference"), [(3, 0.04), (5, 0.0), (5, 0.04)])
def test_intervals_cover_the_true_difference(random, seeds, difference, seed_spread, case_spread):
    trials = 400
    covered = 0
    for _ in range(trials):
        pair = draw_pair(random, seeds, 12, difference, seed_spread, case_spread)
        low, high = paired_difference(*pair, repeats=500).interval()
        covered += low <= difference <= high
    assert covered / trials == pytest.approx(0.95, abs=0.035)


def test_intervals_and_tests_of_people_with_several_cases(random):
    """Four scans a person: intervals cover the truth, and the test of no difference finds one as often as it may."""
    people, trials = np.repeat(np.arange(10), 4), 300
    covered, found, alone = 0, 0, 0
    for _ in range(trials):
        of_person = np.repeat(0.05 * random.normal(size=(1, 10)), 4, axis=1)
        system = of_person + 0.005 * random.normal(size=(5, 1)) + 0.01 * random.normal(size=(5, 40))
        difference = paired_difference(system, np.zeros((5, 40)), Cases(people), repeats=300)
        low, high = difference.interval()
        covered += low <= 0 <= high
        found += sign_flip_test(difference.by_person) <= 0.05
        low, high = paired_difference(system, np.zeros((5, 40)), repeats=300).interval()
        alone += low <= 0 <= high
    assert covered / trials == pytest.approx(0.95, abs=0.035)
    assert found / trials == pytest.approx(0.05, abs=0.035)
    assert alone / trials < 0.88  # as independent cases they would not


def test_a_large_difference_excludes_zero_and_repeats_to_the_bit(random):
    pair = draw_pair(random, 5, 12, 0.2, 0.02, 0.02)
    first, second = (paired_difference(*pair) for _ in range(2))
    assert isinstance(first, Difference)
    assert first.interval() == second.interval()
    assert 0 < first.interval()[0] < first.estimate < first.interval()[1]
    assert first.estimate == pytest.approx((pair[0] - pair[1]).mean())
    assert first.interval(0.5)[0] > first.interval()[0]
    backwards = paired_difference(pair[1], pair[0])
    np.testing.assert_allclose(backwards.interval(), [-end for end in reversed(first.interval())])


def test_undefined_cases_are_left_out_of_both_systems(random):
    system, baseline = (np.array(values) for values in draw_pair(random, 3, 6, 0.1, 0.02, 0.02))
    system[1, 2] = np.nan
    system[:, 4] = np.nan
    difference = paired_difference(system, baseline)
    expected = [np.nanmean(system[s] - baseline[s]) for s in range(3)]
    np.testing.assert_allclose(difference.by_seed, expected)
    assert difference.by_person is not None
    np.testing.assert_allclose(difference.by_person, np.nanmean((system - baseline)[:, [0, 1, 2, 3, 5]], axis=0))


def test_differences_of_auc(random):
    labels = np.array([0, 1] * 20)
    good = labels + 0.3 * random.normal(size=(4, 40))
    poor = random.random((4, 40))
    difference = paired_difference(good, poor, Cases(np.arange(40), labels), repeats=500)
    expected = [roc_auc_score(labels, a) - roc_auc_score(labels, b) for a, b in zip(good, poor, strict=True)]
    np.testing.assert_allclose(difference.by_seed, expected)
    assert difference.interval()[0] > 0
    assert difference.by_person is None


def test_intervals_of_little_data():
    one = np.array([[0.5]])
    assert np.isnan(paired_difference(one, one - 0.1).interval()).all()
    same = np.full((3, 4), 0.5)
    assert paired_difference(same, same).interval() == (0.0, 0.0)
    one_seed = paired_difference(np.array([[0.5, 0.7, 0.6]]), np.full((1, 3), 0.4))
    expected = stats.t.interval(0.95, 2, 0.2, stats.sem([0.1, 0.3, 0.2]))
    np.testing.assert_allclose(one_seed.interval(), expected, atol=0.02)


def test_other_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"baseline: shape \(2, 3\), expected that of system, \(2, 4\)"):
        paired_difference(np.zeros((2, 4)), np.zeros((2, 3)))


def test_pooled_differences_are_narrower_than_their_parts(random):
    parts = [paired_difference(*draw_pair(random, 5, 12, 0.1, 0.05, 0.05), seed=i) for i in range(4)]
    pooled = pool(parts)
    assert pooled.estimate == pytest.approx(np.mean([part.estimate for part in parts]))
    assert len(pooled.by_seed) == 20
    widths = [high - low for low, high in (d.interval() for d in [pooled, *parts])]
    assert widths[0] < min(widths[1:])


def test_sign_flips_agree_with_enumeration(random):
    differences = random.normal(0.3, 1, 8)
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    means = np.abs((signs * differences).mean(axis=1))
    expected = (means >= abs(differences.mean()) - 1e-12).mean()
    assert sign_flip_test(differences) == pytest.approx(expected)
    assert sign_flip_test(np.array([0.1, 0.2, 0.3])) == pytest.approx(2 / 8)
    assert sign_flip_test(np.zeros(5)) == 1.0


def test_sign_flips_of_many_differences_are_drawn(random):
    assert sign_flip_test(random.normal(1, 1, 40), repeats=999) == pytest.approx(2 / 1000)
    null = [sign_flip_test(random.normal(0, 1, 7)) for _ in range(200)]
    assert np.mean(np.array(null) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([None]) == [None]


def test_ranks_and_their_intervals(random):
    cases = random.normal(size=(1, 1, 20))
    levels = np.array([0.0, 3.0, 0.1])[:, None, None]
    errors = levels + cases + 0.5 * random.normal(size=(3, 4, 20))
    labels = np.array([0, 1] * 10)
    chances = np.clip(labels * np.array([0.2, 0.0, 1.0])[:, None, None] + random.random((3, 4, 20)), 0, 2)
    ranks = rank_systems(
        [(errors, Cases(np.arange(20))), (chances, Cases(np.arange(20), labels))], [False, True], repeats=500
    )
    assert isinstance(ranks, Ranks)
    assert ranks.mean[1] == 3.0
    assert ranks.high[1] <= 3.0
    assert (ranks.low <= ranks.mean).all()
    assert (ranks.mean <= ranks.high).all()
    assert ranks.mean.sum() == pytest.approx(6)
