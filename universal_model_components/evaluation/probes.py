# SPDX-License-Identifier: Apache-2.0
"""Linear probes: how well a cube's modality and scale can be predicted from the frozen encoder's features.

Features of a level are averaged over the cube; a logistic regression on them is trained on cubes of the training cases
and tested on cubes of other cases. Adversarial learning should lower the modality probe's accuracy (paper III-B), scale
classification should raise the scale probe's (III-C).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..utils.pooling import pool_levels


@torch.no_grad()
def measure_features(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    corruption: Callable[..., tuple[Tensor, Tensor]],
    device: torch.device | str = "cpu",
) -> tuple[dict[str, list[np.ndarray]], dict[str, np.ndarray]]:
    """Compute the pooled features of every level for every cube, clean and corrupted.

    Args:
        network: with an `encoder`, in evaluation mode, on the device.
        batches: of a `CubeDataset`.
        corruption: (cubes, seeds) → (corrupted, target).
        device: for the computation.

    Returns:
        By input ("clean", "corrupted") an array (N, C) for each level, and by name ("modality", "scale") labels (N,).
    """
    features: dict[str, list[list[Tensor]]] = {"clean": [], "corrupted": []}
    labels: dict[str, list[int]] = {"modality": [], "scale": []}
    for batch in batches:
        cubes = batch["image"].to(device)
        for name, image in (("clean", cubes), ("corrupted", corruption(cubes, seeds=batch["seed"])[0])):
            levels = pool_levels(network.encoder(image))  # type: ignore[operator]
            features[name].append([level.cpu() for level in levels])
        for name, values in labels.items():
            values += batch[name].tolist()
    arrays = {
        name: [torch.cat(level).numpy() for level in zip(*parts, strict=True)] for name, parts in features.items()
    }
    return arrays, {name: np.asarray(values, dtype=np.int64) for name, values in labels.items()}


def draw_evenly(cases: Sequence[str], count: int, seed: int) -> list[int]:
    """Choose cubes as evenly over the cases as their numbers of cubes allow; reproducible by seed.

    Args:
        cases: the case of each cube.
        count: maximum number of cubes.
        seed: of the choice within each case.

    Returns:
        The chosen positions in `cases`, ascending.
    """
    taken: Counter[str] = Counter()
    turns = []  # (how many its case has given before, place in the random order, position)
    for place, position in enumerate(np.random.default_rng(seed).permutation(len(cases)).tolist()):
        turns.append((taken[cases[position]], place, position))
        taken[cases[position]] += 1
    return sorted(position for _, _, position in sorted(turns)[:count])


def describe_probe(train_labels: np.ndarray, test_labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return the baselines of a probe's accuracy, or the reason why it cannot be run.

    Accuracies are balanced (mean recall of the classes), because the classes are rarely of equal size; a constant
    prediction, or a random one, scores 1/K for K classes in the test set. The share of the largest class, `majority`,
    is the plain accuracy of the best constant prediction.

    Args:
        train_labels: classes of the training cubes.
        test_labels: classes of the cubes of held-out cases.
        names: of the classes.

    Shape:
        (N,), (M,) integers.

    Returns:
        "metric", "train_cubes", "test_cubes", and either "chance", "majority" and "classes" or "skipped", the reason.
    """
    found = {"metric": "balanced accuracy", "train_cubes": len(train_labels), "test_cubes": len(test_labels)}
    for cases, labels in (("training", train_labels), ("held-out", test_labels)):
        if len(np.unique(labels)) < 2:
            what = f"only {names[labels[0]]!r} cubes" if len(labels) else "no cubes"
            return {**found, "skipped": f"the {cases} cases have {what}, a probe needs two classes"}
    classes, counts = np.unique(test_labels, return_counts=True)
    unseen = [names[label] for label in np.setdiff1d(classes, train_labels)]
    if unseen:
        return {**found, "skipped": f"the training cases have no {unseen[0]!r} cubes, the held-out cases do"}
    shares = {"chance": 1 / len(classes), "majority": float(counts.max() / counts.sum())}
    return {**found, **shares, "classes": [names[label] for label in classes]}


def linear_probe(
    train_features: np.ndarray, train_labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray
) -> float:
    """Train a logistic regression on standardized features and return its balanced accuracy on the test features.

    Args:
        train_features: pooled features of the training cases' cubes.
        train_labels: their classes, two or more.
        test_features: pooled features of the held-out cases' cubes.
        test_labels: their classes.

    Shape:
        (N, C), (N,), (M, C), (M,).
    """
    from sklearn.linear_model import LogisticRegression  # a second
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    probe.fit(train_features, train_labels)
    return float(balanced_accuracy_score(test_labels, probe.predict(test_features)))
