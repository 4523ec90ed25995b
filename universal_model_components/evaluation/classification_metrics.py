# SPDX-License-Identifier: Apache-2.0
"""Metrics of a binary classifier: AUC with a bootstrap interval, and rates at a threshold.

The bootstrap draws patients, not samples: the candidates of one scan are not independent, and an interval that assumed
so would be too narrow. With one sample per patient it is the ordinary bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, roc_auc_score
from torch import Tensor
from torch.nn.functional import nll_loss

NAMES = ("negative", "positive")


def scores_and_labels(output: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
    """Extract the positive class's probability and the label from an engine's decollated output, for MONAI's ROCAUC.

    Shape:
        N items with "pred" (2,) → (N,), (N,).
    """
    probabilities, labels = probabilities_and_labels(output)
    return probabilities[:, 1], labels


def probabilities_and_labels(output: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
    """Extract probabilities and labels from an engine's decollated output, for Ignite's metrics.

    Shape:
        N items with "pred" (classes,) → (N, classes), (N,).
    """
    probabilities = torch.stack([torch.as_tensor(one["pred"]).float() for one in output])
    return probabilities, torch.tensor([int(one["label"]) for one in output], device=probabilities.device)


def probability_cross_entropy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Compute the training loss from probabilities instead of logits, for Ignite's Loss.

    Shape:
        (N, classes), (N,) → ().
    """
    return nll_loss(probabilities.clamp_min(torch.finfo(torch.float32).tiny).log(), labels)


def bootstrap_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: Sequence[str],
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[float] | None, int]:
    """Return the percentile interval of the AUC over resampled groups, and the number of resamples it is based on.

    A resample in which a class is missing has no AUC and is excluded.

    Args:
        labels: 0 or 1.
        scores: higher means more likely positive.
        groups: patient of each sample.
        repeats: resamples.
        seed: of the resamples.
        level: share of the resamples within the interval.

    Shape:
        labels (N,), scores (N,).
    """
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    rng, values = np.random.default_rng(seed), []
    for _ in range(int(repeats)):
        drawn = rng.integers(len(names), size=len(names))
        weights = np.bincount(drawn, minlength=len(names))[codes]
        there = weights > 0
        if len(np.unique(labels[there])) == 2:
            values.append(roc_auc_score(labels[there], scores[there], sample_weight=weights[there]))
    if not values:
        return None, 0
    tail = 100 * (1 - level) / 2
    return [float(limit) for limit in np.percentile(values, [tail, 100 - tail])], len(values)


def rate(part: int, whole: int) -> float | None:
    """Return a proportion, or None when the total is 0."""
    return part / whole if whole else None


def summarize(
    rows: Sequence[Mapping[str, Any]],
    threshold: float = 0.5,
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Summarize scored samples.

    Args:
        rows: keys label (0 or 1), probability (of class 1) and group (patient).
        threshold: a sample counts as positive if its probability is at least this.
        repeats: resamples of the bootstrap.
        seed: of the bootstrap.
        level: of the interval.

    Returns:
        samples, patients, positives, negatives, auc, auc_interval, interval_level, bootstrap (valid resamples),
        threshold, accuracy, sensitivity, specificity, confusion ([[true negative, false positive], [false negative,
        true positive]]) and problems: one line for each value that is undefined, which is then None.

    Raises:
        FloatingPointError: when a probability is not finite; the message names the sample's case.
    """
    wrong = [row for row in rows if not math.isfinite(row["probability"])]
    if wrong:
        raise FloatingPointError(f"{wrong[0]['case']}: probability {wrong[0]['probability']}: the model is broken")
    labels = np.array([row["label"] for row in rows], dtype=np.int64)
    scores = np.array([row["probability"] for row in rows], dtype=np.float64)
    groups = [str(row["group"]) for row in rows]
    counts = confusion_matrix(labels, scores >= threshold, labels=[0, 1]).tolist() if len(rows) else [[0, 0], [0, 0]]
    (true_negative, false_positive), (false_negative, true_positive) = counts
    positives, negatives = true_positive + false_negative, true_negative + false_positive
    auc, problems = _summarize_auc(labels, scores, groups, repeats, seed, level)
    return {
        "samples": len(rows),
        "patients": len(set(groups)),
        "positives": positives,
        "negatives": negatives,
        **auc,
        "threshold": threshold,
        "accuracy": rate(true_positive + true_negative, len(rows)),
        "sensitivity": rate(true_positive, positives),
        "specificity": rate(true_negative, negatives),
        "confusion": counts,
        "problems": problems,
    }


def _summarize_auc(
    labels: np.ndarray, scores: np.ndarray, groups: Sequence[str], repeats: int, seed: int, level: float
) -> tuple[dict[str, Any], list[str]]:
    """Return the AUC with its bootstrap interval, and one line for each of the two that is undefined."""
    auc, interval, used, problems = None, None, 0, []
    missing = [name for name, label in zip(NAMES, (0, 1), strict=True) if not (labels == label).any()]
    if missing:
        problems.append(f"auc: undefined, no {' and no '.join(missing)} sample among {len(labels)}")
    else:
        auc = float(roc_auc_score(labels, scores))
        interval, used = bootstrap_auc(labels, scores, groups, repeats, seed, level)
        if interval is None:
            problems.append("auc_interval: no resample has both classes")
    return {"auc": auc, "auc_interval": interval, "interval_level": level, "bootstrap": used}, problems
