# SPDX-License-Identifier: Apache-2.0
"""The score of a run over its cases, each person's cases together: a metric's mean, or the area under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cases:
    """What the C cases of a comparison are.

    Args:
        people: number of the person that each case shows, 0 to P - 1 (C,).
        labels: 0 or 1 (C,), for AUC; None: the score is the mean of a metric.
    """

    people: np.ndarray
    labels: np.ndarray | None = None

    @property
    def persons(self) -> int:
        """How many persons they show."""
        return int(self.people.max()) + 1 if self.people.size else 0


def of_people(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Sum the cases of each person.

    Shape:
        values (..., C); people (C,) → (..., P).
    """
    sums = np.zeros((*values.shape[:-1], int(people.max()) + 1))
    np.add.at(sums, (..., people), values)  # type: ignore[arg-type]
    return sums


def case_means(values: np.ndarray, people: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over cases, for each seed; undefined cases (NaN) are left out.

    Shape:
        values (S, C) of S seeds and C cases; people (C,); weights (R, P) → (R, S), NaN where no case is left.
    """
    there = np.isfinite(values)
    totals, counts = of_people(np.where(there, values, 0.0), people), of_people(there, people)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ totals.T) / (weights @ counts.T)


def case_auc(probabilities: np.ndarray, cases: Cases, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for each seed: scikit-learn's `roc_auc_score` with weights, many resamples at once.

    How often positives of one person are above negatives of another is counted once; a resample weighs these counts.

    Args:
        probabilities: of the positive class.
        cases: with labels.
        weights: how often each person is in each resample.

    Shape:
        probabilities (S, C); weights (R, P) → (R, S), NaN where a resample lacks a class.
    """
    positive = np.asarray(cases.labels) == 1
    if positive.all() or not positive.any():
        return np.full((len(weights), len(probabilities)), np.nan)
    above, rows = np.unique(cases.people[positive], return_inverse=True)
    below, columns = np.unique(cases.people[~positive], return_inverse=True)
    upper, lower = weights[:, above], weights[:, below]
    pairs = (upper @ np.bincount(rows)) * (lower @ np.bincount(columns))
    result = np.empty((len(weights), len(probabilities)))
    for index, scores in enumerate(probabilities):
        wins = _wins(scores[positive], rows, scores[~positive], columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            result[:, index] = ((upper @ wins) * lower).sum(axis=1) / pairs
    return result


def _wins(high: np.ndarray, rows: np.ndarray, low: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Count the pairs of which the first score is the higher one, a tie as half, for each pair of persons.

    Shape:
        high, rows (N,); low, columns (M,) → (persons of rows, persons of columns).
    """
    order = np.lexsort((low, columns))
    parts = np.split(low[order], np.cumsum(np.bincount(columns))[:-1])
    counts = [np.searchsorted(part, high, "left") + np.searchsorted(part, high, "right") for part in parts]
    return np.stack([np.bincount(rows, count / 2) for count in counts], axis=1)


def case_scores(values: np.ndarray, cases: Cases, weights: np.ndarray | None = None) -> np.ndarray:
    """Score of each seed over weighted persons: mean of a metric, or AUC where the cases have labels.

    Shape:
        values (S, C); weights (R, P) → (R, S); without weights → (S,).
    """
    if weights is None:
        return case_scores(values, cases, np.ones((1, cases.persons)))[0]
    return case_means(values, cases.people, weights) if cases.labels is None else case_auc(values, cases, weights)
