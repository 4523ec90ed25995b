# SPDX-License-Identifier: Apache-2.0
"""Scores over weighted persons: means and AUC agree with NumPy and scikit-learn over the cases themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from universal_model_components.experiments.scoring import Cases, case_auc, case_means, case_scores, of_people

PEOPLE = {"one case each": np.arange(30), "several": np.repeat(np.arange(10), 3), "mixed": np.arange(30) % 7}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def test_means_leave_undefined_cases_out():
    values = np.array([[0.2, np.nan, 0.8], [0.1, 0.5, np.nan]])
    weights = np.array([[1.0, 1, 1], [2, 0, 1], [0, 1, 0]])
    expected = [[0.5, 0.3], [0.4, 0.1], [np.nan, 0.5]]
    np.testing.assert_allclose(case_means(values, np.arange(3), weights), expected)
    np.testing.assert_allclose(case_scores(values, Cases(np.arange(3))), [0.5, 0.3])
    np.testing.assert_allclose(of_people(values, np.array([1, 0, 1]))[0], [np.nan, 1.0])


@pytest.mark.parametrize("people", PEOPLE.values(), ids=PEOPLE)
def test_scores_of_people_are_those_of_their_cases(random, people):
    cases = Cases(people, random.integers(0, 2, 30))
    probabilities = random.integers(0, 8, (3, 30)) / 8  # with many ties
    weights = random.multinomial(cases.persons, np.full(cases.persons, 1 / cases.persons), size=20).astype(float)
    each = weights[:, people]
    expected = [[roc_auc_score(cases.labels, p, sample_weight=w) for p in probabilities] for w in each]
    np.testing.assert_allclose(case_auc(probabilities, cases, weights), expected)
    alone = [roc_auc_score(cases.labels, p) for p in probabilities]
    np.testing.assert_allclose(case_scores(probabilities, cases), alone)
    means = [[np.average(p, weights=w) for p in probabilities] for w in each]
    np.testing.assert_allclose(case_scores(probabilities, Cases(people), weights), means)


@pytest.mark.parametrize("labels", [[0, 1], [1, 1], [0, 0]])
def test_auc_without_both_classes_is_undefined(labels):
    cases = Cases(np.arange(2), np.array(labels))
    assert np.isnan(case_auc(np.array([[0.1, 0.9]]), cases, np.array([[2.0, 0.0]]))).all()
