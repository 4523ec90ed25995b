# SPDX-License-Identifier: Apache-2.0
"""Measures of masks against their definitions, voxel by voxel; undefined ones are missing, with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from universal_model_components.evaluation.segmentation_metrics import (
    measure_masks,
    representative_cases,
    summarize_masks,
)

SPACING = (1.0, 0.5, 3.0)


def surface(mask: np.ndarray) -> np.ndarray:
    """Voxels inside with one of their six neighbors outside."""
    padded = np.pad(mask, 1)
    around = [np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
    return np.argwhere(mask & ~np.logical_and.reduce(around))


def reference_hd95(one: np.ndarray, other: np.ndarray, spacing: tuple[float, ...]) -> float:
    first, second = surface(one) * spacing, surface(other) * spacing
    distances = np.sqrt(((first[:, None] - second[None]) ** 2).sum(-1))
    return max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))


def test_measures_are_what_they_are_defined_to_be(generator):
    noise = torch.nn.functional.avg_pool3d(torch.rand(2, 1, 14, 13, 12, generator=generator), 5, 1)
    one, other = (part[0] > part.mean() for part in noise)
    row = measure_masks(one, other.float(), SPACING)
    common, union = int((one & other).sum()), int((one | other).sum())
    background = int((~one & ~other).sum()) / int((~one | ~other).sum())
    assert row["iou"] == pytest.approx(common / union)
    assert row["dice"] == pytest.approx(2 * common / int(one.sum() + other.sum()))
    assert row["mean_iou"] == pytest.approx((common / union + background) / 2)
    assert row["hd95_mm"] == pytest.approx(reference_hd95(one.numpy(), other.numpy(), SPACING), rel=1e-5)
    assert row["reference_ml"] == pytest.approx(int(other.sum()) * 1.5 / 1000)
    assert row["reason"] == ""


def shifted(side: int, shift: int) -> torch.Tensor:
    mask = torch.zeros(16, 16, 16)
    mask[2 + shift : 2 + shift + side, 4:8, 4:8] = 1
    return mask


def test_known_masks():
    row = measure_masks(shifted(4, 0), shifted(4, 0), (1, 1, 1))
    assert (row["iou"], row["dice"], row["mean_iou"], row["hd95_mm"]) == (1, 1, 1, 0)
    assert measure_masks(shifted(4, 3), shifted(4, 0), (2, 1, 1))["hd95_mm"] == pytest.approx(6)
    assert measure_masks(shifted(4, 2), shifted(4, 0), (1, 1, 1))["iou"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("prediction", "reference", "iou", "reason"),
    [
        (0, 0, None, "empty reference mask, nothing predicted: no IoU, Dice or distance"),
        (4, 0, None, "empty reference mask, 64 voxels predicted: no IoU, Dice or distance"),
        (0, 4, 0.0, "empty prediction: no distance"),
    ],
)
def test_what_cannot_be_scored_says_why(prediction, reference, iou, reason):
    row = measure_masks(shifted(prediction, 0), shifted(reference, 0), (1, 1, 1))
    assert (row["iou"], row["dice"], row["hd95_mm"], row["reason"]) == (iou, iou, None, reason)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"prediction \(4, 4, 4\) is not a volume like \(4, 4, 5\)"):
        measure_masks(torch.zeros(4, 4, 4), torch.zeros(4, 4, 5), (1, 1, 1))


def test_summary_leaves_out_what_is_not_scored_and_says_so():
    pairs = {"good": (4, 4), "half": (2, 4), "missed": (0, 4), "healthy": (2, 0)}
    rows = [{"case": name, **measure_masks(shifted(a, 0), shifted(b, 0), (1, 1, 1))} for name, (a, b) in pairs.items()]
    summary = summarize_masks(rows)
    assert summary["iou"] == pytest.approx(
        {"mean": 0.5, "sd": 0.5, "median": 0.5, "minimum": 0.0, "maximum": 1.0, "cases": 3}
    )
    assert summary["hd95_mm"]["cases"] == 2
    # 64 + 32 voxels in common; the union also counts the missed case and the false alarm in the healthy one
    assert summary["pooled_iou"] == pytest.approx((64 + 32) / (64 + 64 + 64 + 32))
    assert [entry["case"] for entry in summary["not_scored"]] == ["missed", "healthy"]
    assert representative_cases(rows) == {"best": 0, "median": 1, "worst": 2}
    assert representative_cases(rows[:1]) == {"best": 0}
    assert representative_cases(rows[3:]) == {}


def test_summary_of_nothing():
    empty = measure_masks(shifted(0, 0), shifted(0, 0), (1, 1, 1))
    summary = summarize_masks([{"case": "a", **empty}])
    assert summary["iou"] == dict.fromkeys(("mean", "sd", "median", "minimum", "maximum")) | {"cases": 0}
    assert summary["pooled_iou"] is None
