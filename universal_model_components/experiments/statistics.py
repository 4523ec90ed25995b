# SPDX-License-Identifier: Apache-2.0
"""Paired comparison of two systems over seeds and cases: bootstrap intervals, sign-flip tests, Holm, ranks.

Both systems were trained with the same seeds and tested on the same cases. Either may be responsible for a difference,
so the bootstrap draws both again: seeds, and, independently of them, cases (Owen, The pigeonhole bootstrap, 2007).
Cases of one person are not independent, so they are drawn together. Everything is drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .scoring import Cases, case_scores, of_people

REPEATS = 10_000
LEVEL = 0.95
_CHUNK = 4_000_000  # weights that are held in memory at a time


def resamples(seeds: int, persons: int, repeats: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw seeds and persons with replacement, in chunks that fit into memory.

    Shape:
        each chunk: how often each seed (R, S) and each person (R, P) was drawn; the chunks' R add up to `repeats`.
    """
    generator = np.random.default_rng(seed)
    size = max(1, min(repeats, _CHUNK // persons))
    for start in range(0, repeats, size):
        count = min(size, repeats - start)
        draws = (generator.multinomial(n, np.full(n, 1 / n), size=count) for n in (seeds, persons))
        yield tuple(draw.astype(float) for draw in draws)  # type: ignore[misc]


@dataclass(frozen=True)
class Difference:
    """Paired difference between two systems.

    Args:
        estimate: mean over seeds.
        samples: differences in bootstrap resamples (R,).
        parts: (variance, degrees of freedom) of the mean, due to seeds and due to persons.
        by_seed: difference for each seed, or each pair of task and seed.
        by_person: difference for each person, averaged over seeds and summed over the person's cases; None where the
            score is no mean over cases.
    """

    estimate: float
    samples: np.ndarray
    parts: tuple[tuple[float, int], ...]
    by_seed: np.ndarray
    by_person: np.ndarray | None

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Interval of the bootstrap's standard error; NaN where there is one seed and one person, which have no spread.

        Percentiles mislead with few seeds: of 5, 95 % ones cover 84 %, and of 2, both of which gain, none includes 0.
        Instead, the standard error is multiplied by Student's t, as Efron and Tibshirani (An introduction to the
        bootstrap, 1993) do, with the degrees of freedom of both sources of variance (Satterthwaite, 1946).
        """
        if not self.parts:
            return np.nan, np.nan
        variances, freedoms = np.array(self.parts).T
        if not variances.any():
            return self.estimate, self.estimate
        freedom = variances.sum() ** 2 / (variances**2 / freedoms).sum()
        error = np.nanstd(self.samples) * np.sqrt(1 + 1 / freedom)  # n resampled values vary by (n - 1) / n too little
        half = float(stats.t.ppf((1 + level) / 2, freedom) * error)
        return self.estimate - half, self.estimate + half


def paired_difference(
    system: np.ndarray,
    baseline: np.ndarray,
    cases: Cases | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Difference:
    """Compare two systems on the same seeds and cases; a case that is undefined in one is left out of both.

    Args:
        system: metric of each case, or probability of the positive class.
        baseline: likewise.
        cases: what they are; by default the score is a mean, and each case shows another person.
        repeats: bootstrap resamples.
        seed: of the resamples.

    Shape:
        system (S, C); baseline (S, C).

    Raises:
        ValueError: when the shapes differ.
    """
    if system.shape != baseline.shape:
        raise ValueError(f"baseline: shape {baseline.shape}, expected that of system, {system.shape}")
    if cases is None:
        cases = Cases(np.arange(system.shape[1]))
    undefined = np.isnan(system) | np.isnan(baseline)
    pair = [np.where(undefined, np.nan, values) for values in (system, baseline)]
    by_seed = np.subtract(*(case_scores(values, cases) for values in pair))
    seeds = len(system)
    fixed_seeds, samples = [], []
    for seed_weights, weights in resamples(seeds, cases.persons, repeats, seed):
        scores = np.subtract(*(case_scores(values, cases, weights) for values in pair))
        fixed_seeds.append(scores.mean(axis=1))
        samples.append((scores * seed_weights).sum(axis=1) / seed_weights.sum(axis=1))
    variances = (by_seed.var() / seeds, seeds - 1), (np.nanvar(np.concatenate(fixed_seeds)), cases.persons - 1)
    by_person = None if cases.labels is not None else _of_persons(pair[0] - pair[1], cases.people)
    parts = tuple((float(variance), freedom) for variance, freedom in variances if freedom)
    return Difference(float(by_seed.mean()), np.concatenate(samples), parts, by_seed, by_person)


def _of_persons(differences: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Sum over each person's cases the mean over seeds; persons without a defined case are left out."""
    there = np.isfinite(differences).any(axis=0)
    means = np.nanmean(differences[:, there], axis=0)
    return of_people(means, np.unique(people[there], return_inverse=True)[1]) if there.any() else means


def pool(differences: Sequence[Difference]) -> Difference:
    """Mean difference over tasks, each of which counts the same; tasks are not drawn again."""
    count = len(differences)
    parts = tuple((variance / count**2, freedom) for d in differences for variance, freedom in d.parts)
    return Difference(
        float(np.mean([d.estimate for d in differences])),
        np.mean([d.samples for d in differences], axis=0),
        parts,
        np.concatenate([d.by_seed for d in differences]),
        None,
    )


def sign_flip_test(differences: np.ndarray, repeats: int = REPEATS, seed: int = 0) -> float:
    """Two-sided p value of the null hypothesis that paired differences are symmetric about zero.

    Exact, over all 2ⁿ signs, where these are at most `repeats`: n differences give no p below 2/2ⁿ.

    Shape:
        differences (N,).
    """
    if not differences.any():
        return 1.0
    result = stats.permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=repeats,
        batch=max(1, _CHUNK // len(differences)),
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for their number (Holm, 1979); None, a test that was not made, stays None."""
    places = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(places):
        largest = max(largest, min(1.0, (len(places) - rank) * p))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of systems over tasks, 1 is best, with bootstrap intervals (K,) each."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def rank_systems(
    tasks: Sequence[tuple[np.ndarray, Cases]],
    higher_is_better: Sequence[bool],
    repeats: int = REPEATS,
    seed: int = 0,
    level: float = LEVEL,
) -> Ranks:
    """Rank systems within each task and average over tasks; in each resample seeds and persons are drawn again.

    Args:
        tasks: values of all systems in a task, and what its cases are.
        higher_is_better: for each task.
        repeats: bootstrap resamples.
        seed: of the resamples.
        level: of the intervals.

    Shape:
        values (K, S, C) of K systems.
    """
    means, samples = [], []
    for index, ((values, cases), higher) in enumerate(zip(tasks, higher_is_better, strict=True)):
        sign = -1.0 if higher else 1.0
        scores = np.stack([case_scores(system, cases).mean() for system in values])
        means.append(stats.rankdata(sign * scores))
        drawn = []
        for seed_weights, weights in resamples(values.shape[1], cases.persons, repeats, seed + index):
            runs = np.stack([case_scores(system, cases, weights) for system in values])
            drawn.append((runs * seed_weights).sum(axis=2))
        samples.append(stats.rankdata(sign * np.concatenate(drawn, axis=1), axis=0, nan_policy="propagate"))
    average = np.stack(samples).mean(axis=0)  # NaN where a resample lacks a class
    low, high = np.nanquantile(average, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return Ranks(np.mean(means, axis=0), low, high)
