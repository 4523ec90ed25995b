# SPDX-License-Identifier: Apache-2.0
"""Agreement of two masks, for each case and over all cases, by MONAI's metrics.

"IoU" means different things in the literature, so three are computed: of the foreground, averaged over cases (`iou`,
the key metric); the mean of foreground and background (`mean_iou`); of the foreground, over the voxels of all cases
together (`pooled_iou`), where large structures count more. A metric that is undefined for a case is None there, with
the reason, and is excluded from the means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_iou
from monai.metrics.meandice import compute_dice
from torch import Tensor

from ..imaging.unusable import Unusable

MEASURES = ("iou", "mean_iou", "dice", "hd95_mm")
FIGURES: dict[str, Callable] = {"mean": np.mean, "median": np.median, "minimum": np.min, "maximum": np.max}
COUNTS = ("reference_voxels", "predicted_voxels", "common_voxels", "voxels")


def measure_masks(prediction: Tensor, reference: Tensor, spacing: Sequence[float]) -> dict[str, Any]:
    """Measure one case.

    Args:
        prediction: above 0.5 is foreground.
        reference: above 0.5 is foreground.
        spacing: sides of a voxel, mm.

    Returns:
        `MEASURES` (None where not defined), `COUNTS`, `reference_ml` and `predicted_ml`, and `reason`: why a measure is
        None, or "". An empty reference leaves every measure undefined, an empty prediction only the distance: its IoU
        and Dice are 0, and are included. `hd95_mm` is the larger of the two directed 95th percentiles, in mm.

    Shape:
        both (H, W, D), any type.

    Raises:
        ValueError: when the shapes differ or are not three-dimensional.
    """
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ValueError(f"prediction {tuple(prediction.shape)} is not a volume like {tuple(reference.shape)}")
    # booleans are counted in whole numbers: a float32 sum stops counting at 16.8 million voxels
    one, other = ((torch.as_tensor(mask) > 0.5).as_subclass(Tensor)[None, None] for mask in (prediction, reference))
    counts = [int(mask.sum()) for mask in (other, one, one & other)] + [other.numel()]
    row: dict[str, Any] = {**dict.fromkeys(MEASURES), **dict(zip(COUNTS, counts, strict=True))}
    milliliter = float(np.prod(spacing)) / 1000
    row |= {"reference_ml": counts[0] * milliliter, "predicted_ml": counts[1] * milliliter, "reason": ""}
    if counts[0] == 0:
        found = "nothing predicted" if counts[1] == 0 else f"{counts[1]} voxels predicted"
        return {**row, "reason": f"empty reference mask, {found}: no IoU, Dice or distance"}
    row["iou"], row["dice"] = float(compute_iou(one, other)), float(compute_dice(one, other))
    background = float(compute_iou(~one, ~other)) if counts[0] < counts[3] else float("nan")
    row["mean_iou"] = float(np.nanmean([row["iou"], background]))
    if counts[1] == 0:
        return {**row, "reason": "empty prediction: no distance"}
    sides = [float(side) for side in spacing]
    row["hd95_mm"] = float(compute_hausdorff_distance(one, other, True, percentile=95, spacing=sides))
    return row


def summarize_masks(rows: Sequence[Mapping[str, Any]], unusable: Sequence[Unusable] = ()) -> dict[str, Any]:
    """Average the rows of `measure_masks` over the cases that have each measure.

    Args:
        rows: of the cases that were measured.
        unusable: cases whose files cannot be used; they are in no figure.

    Returns:
        For each measure "mean", "sd" (of a sample; None for one case), "median", "minimum", "maximum" and "cases" (how
        many have it); "pooled_iou" over the voxels of all cases, empty references included; "cases" and "unusable" in
        all; "not_scored": case and reason of every row that has one, and of the unusable cases.
    """
    summary: dict[str, Any] = {"cases": len(rows), "unusable": len(unusable)}
    for name in MEASURES:
        values = np.array([row[name] for row in rows if row[name] is not None], dtype=np.float64)
        summary[name] = {key: float(figure(values)) if len(values) else None for key, figure in FIGURES.items()}
        summary[name] |= {"sd": float(values.std(ddof=1)) if len(values) > 1 else None, "cases": len(values)}
    totals = {name: sum(row[name] for row in rows) for name in COUNTS}
    union = totals["reference_voxels"] + totals["predicted_voxels"] - totals["common_voxels"]
    summary["pooled_iou"] = totals["common_voxels"] / union if union else None
    reasons = [(row["case"], row["reason"]) for row in rows if row["reason"]] + list(unusable)
    summary["not_scored"] = [{"case": case, "reason": reason} for case, reason in reasons]
    return summary


def representative_cases(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Choose the rows to show: "best", "median" and "worst" by IoU, fewer when fewer cases have one."""
    order = sorted((i for i, row in enumerate(rows) if row["iou"] is not None), key=lambda i: -rows[i]["iou"])
    if not order:
        return {}
    places = {"best": 0, "worst": len(order) - 1, "median": len(order) // 2}
    chosen: dict[int, str] = {}
    for name, place in places.items():
        chosen.setdefault(order[place], name)
    return {name: row for row, name in chosen.items()}
