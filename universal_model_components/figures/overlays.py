# SPDX-License-Identifier: Apache-2.0
"""Two masks as contours over the scan, in three planes: the reference solid, the prediction dashed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events

from ..imaging.geometry import to_ras
from .planes import plane_slices
from .style import GROUND, INK, ORANGE, SKY, new_figure, sample_line, write_png

REFERENCE, PREDICTION = SKY, ORANGE  # distinguishable with any kind of color vision, and from the gray of the scan


@dataclass(frozen=True)
class Overlay:
    """Content of one row of the picture.

    Args:
        image: the scan, in any unit.
        reference: mask, above 0.5 is inside.
        prediction: mask, likewise.
        affine: voxel → mm, RAS; the three share one grid.
        title: line above the row.

    Shape:
        image, reference and prediction (H, W, D), affine (4, 4).
    """

    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    affine: np.ndarray
    title: str = ""


def fullest_voxel(reference: np.ndarray, prediction: np.ndarray) -> tuple[int, int, int]:
    """Voxel whose planes contain most of the reference, or of the prediction where there is no reference.

    Shape:
        both (H, W, D), boolean.
    """
    mask = reference if reference.any() else prediction
    areas = [mask.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    x, y, z = (int(area.argmax()) if area.any() else len(area) // 2 for area in areas)
    return x, y, z


def draw_overlays(
    rows: Sequence[Overlay], file: str | Path, names: tuple[str, str] = ("reference", "prediction")
) -> Path:
    """Draw a row for each case: three planes through the fullest voxel, the patient's right on the left.

    Args:
        rows: the cases.
        file: PNG to write (atomically).
        names: of the two masks, for the legend.

    Raises:
        OSError: when the file cannot be written; the message names it.
    """
    figure = new_figure(9.6, 3.3 * len(rows) + 0.3, GROUND)
    parts = figure.subfigures(len(rows), 1, squeeze=False, facecolor=GROUND)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        _draw_row(part, row)
    lines = [sample_line(REFERENCE), sample_line(PREDICTION, dashed=True)]
    figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False, labelcolor=INK, fontsize=9)
    return write_png(figure, file)


def _draw_row(part: Any, row: Overlay) -> None:
    image, affine = to_ras(np.asarray(row.image, dtype=np.float32), row.affine)
    reference, prediction = (to_ras(np.asarray(m) > 0.5, row.affine)[0] for m in (row.reference, row.prediction))
    at = fullest_voxel(reference, prediction)
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = np.percentile(image, (1, 99.5))
    planes = zip(*(plane_slices(volume, at) for volume in (image, reference, prediction)), strict=True)
    for axis, aspect, (values, true, guess) in zip(part.subplots(1, 3), (y / x, z / x, z / y), planes, strict=True):
        axis.imshow(values, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", aspect=aspect)
        for mask, color, style in ((true, REFERENCE, "solid"), (guess, PREDICTION, "dashed")):
            if mask.any() and not mask.all():
                axis.contour(mask, levels=[0.5], colors=color, linewidths=1.2, linestyles=style)
        axis.set_axis_off()
    part.suptitle(row.title, color=INK, fontsize=10, parse_math=False)


class ValidationOverlays:
    """Ignite handler that draws the first cases of the validation set every few epochs, prediction over reference.

    Args:
        output_dir: `panels/epoch_0010.png` … go there.
        interval: epochs between pictures; 0 is off.
        cases: how many to draw.
    """

    def __init__(self, output_dir: str, interval: int = 10, cases: int = 3) -> None:
        self.folder, self.interval, self.cases = Path(output_dir) / "panels", int(interval), int(cases)
        self.rows: list[Overlay] = []

    def attach(self, engine: Any) -> None:
        """Draw the predictions of `engine`, an evaluator that decollates, on rank 0."""
        if self.interval > 0 and idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw)

    def _start(self) -> None:
        self.rows = []

    def _collect(self, engine: Any) -> None:
        if engine.state.epoch % self.interval:
            return
        for item in engine.state.output[: self.cases - len(self.rows)]:
            affine = np.asarray(getattr(item["image"], "affine", np.eye(4)), dtype=np.float64).reshape(4, 4)
            image, label, pred = (np.asarray(item[key].detach().cpu())[0] for key in ("image", "label", "pred"))
            file = (getattr(item["image"], "meta", None) or {}).get("filename_or_obj", "")
            self.rows.append(Overlay(image, label, pred, affine, Path(str(file)).name))

    def _draw(self, engine: Any) -> None:
        if self.rows:
            draw_overlays(self.rows, self.folder / f"epoch_{engine.state.epoch:04d}.png")
