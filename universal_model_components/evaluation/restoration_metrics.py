# SPDX-License-Identifier: Apache-2.0
"""Restoration errors of corrupted cubes, compared with baselines without a network.

The baselines are the corrupted cube itself and the mean of the training cubes of its modality. A third one is an
oracle: the cube's own mean, the best constant prediction, which takes knowledge of the original.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MEASURES = ("restored_mse", "corrupted_mse", "training_mean_mse", "constant_mse", "mean_matched_mse", "psnr")
LEAST_MSE = 1e-10  # a PSNR of 100 dB stands for a perfect restoration


def restore(network: nn.Module, corrupted: Tensor) -> Tensor:
    """Restore corrupted cubes with the encoder and decoder of a `UniversalModel`, whatever its `outputs`.

    Shape:
        (B, C, H, W, D) → the same, float32 in [0, 1].
    """
    return torch.sigmoid(network.decoder(network.encoder(corrupted)).float())  # type: ignore[operator]


def measure_cubes(
    restored: Tensor, corrupted: Tensor, target: Tensor, training_mean: Tensor | None = None
) -> dict[str, list[float]]:
    """Measure every cube: mean squared errors over its voxels, and PSNR for a peak of 1.

    The best constant uses the original's mean, which the network cannot recover from non-linearly transformed
    intensities. For comparison, "mean_matched" is the restored cube shifted by a constant to the original's mean.

    Args:
        restored: the network's output.
        corrupted: the network's input.
        target: the original.
        training_mean: mean intensity of the training cubes of each cube's modality; None leaves its measure out.

    Shape:
        three times (B, C, H, W, D), and (B,) → for each of `MEASURES` a list of B numbers.
    """
    constant = target.mean(dim=(1, 2, 3, 4), keepdim=True)
    mean_matched = restored - restored.mean(dim=(1, 2, 3, 4), keepdim=True) + constant
    outputs = {"restored_mse": restored, "corrupted_mse": corrupted}
    if training_mean is not None:
        outputs["training_mean_mse"] = training_mean.view(-1, 1, 1, 1, 1)
    outputs |= {"constant_mse": constant, "mean_matched_mse": mean_matched}
    errors = {name: (output - target).square().flatten(1).mean(dim=1) for name, output in outputs.items()}
    errors["psnr"] = -10 * errors["restored_mse"].clamp_min(LEAST_MSE).log10()
    return {name: values.tolist() for name, values in errors.items()}


@torch.no_grad()
def measure_restoration(
    network: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    corruptions: Mapping[str, Callable[..., tuple[Tensor, Tensor]]],
    device: torch.device | str = "cpu",
    training_means: Tensor | None = None,
) -> list[dict[str, Any]]:
    """Corrupt and restore every cube with every kind of corruption.

    Args:
        network: a `UniversalModel` in evaluation mode, on the device.
        batches: of a `CubeDataset`.
        corruptions: by kind, (cubes, seeds) → (corrupted, target).
        device: for the computation.
        training_means: mean intensity of the training cubes of each modality (see `mean_intensities`); None leaves its
            measure out.

    Returns:
        One row for each cube and kind: case, modality, scale (labels), kind and `MEASURES`.

    Raises:
        FloatingPointError: when a restored cube is not finite.
    """
    rows = []
    for batch in batches:
        cubes = batch["image"].to(device)
        for kind, corruption in corruptions.items():
            corrupted, target = corruption(cubes, seeds=batch["seed"])
            constant = None if training_means is None else training_means.to(target)[batch["modality"].to(device)]
            measures = measure_cubes(restore(network, corrupted), corrupted, target, constant)
            if not all(map(math.isfinite, measures["restored_mse"])):
                raise FloatingPointError(f"{kind}: restored cubes of {sorted(set(batch['case']))} are not finite")
            for position, case in enumerate(batch["case"]):
                labels = {name: int(batch[name][position]) for name in ("modality", "scale")}
                values = {name: measured[position] for name, measured in measures.items()}
                rows.append({"case": case, "kind": kind, **labels, **values})
    return rows


def mean_intensities(batches: Iterable[Mapping[str, Any]], modalities: int) -> Tensor | None:
    """Return the mean intensity of the cubes of each modality, (modalities,); None when one has no cubes."""
    sums, cubes = torch.zeros(modalities, dtype=torch.float64), torch.zeros(modalities, dtype=torch.float64)
    for batch in batches:
        means = batch["image"].double().flatten(1).mean(1).as_subclass(Tensor)
        sums.index_add_(0, batch["modality"], means)
        cubes += torch.bincount(batch["modality"], minlength=modalities)
    return sums / cubes if cubes.all() else None


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average rows of `measure_restoration` over the cubes.

    Returns:
        "cubes", `MEASURES`, and "ratio": the restored error divided by the smaller baseline error; below 1, the network
        has learned to restore; None where a baseline is already perfect.
    """
    means = {name: float(np.mean([row[name] for row in rows])) for name in MEASURES if name in rows[0]}
    best = min(means["corrupted_mse"], means.get("training_mean_mse", math.inf))
    return {"cubes": len(rows), **means, "ratio": means["restored_mse"] / best if best > 0 else None}


def by(rows: Sequence[Mapping[str, Any]], *names: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Group rows by the values of some columns, in order of appearance."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups
