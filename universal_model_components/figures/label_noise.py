# SPDX-License-Identifier: Apache-2.0
"""Clean and noisy training masks on the scan, for a few cases spread over the radii of the noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events
from monai.transforms import generate_spatial_bounding_box

from ..imaging.geometry import spacing_of
from .overlays import Overlay, draw_overlays

MARGIN = 20.0  # mm, around the masks: a boundary that moves by 1 mm is hardly visible on a whole scan


def spread_out(radii: Mapping[str, float], count: int = 4) -> list[str]:
    """Choose cases from the smallest radius to the largest, with about equally many cases between them.

    Args:
        radii: case → how far its boundary moved, mm; negative where eroded.
        count: how many to choose; all of them where there are fewer.

    Returns:
        Cases in the order of their radii: the strongest erosion first, the strongest dilation last.
    """
    order = sorted(radii, key=lambda case: (radii[case], case))
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[place] for place in places]


class LabelNoisePicture:
    """Ignite handler that draws label_noise.png: clean and noisy masks of a few training cases.

    The chosen cases are read once more when training starts, and forgotten after they are drawn. Nothing random is
    called, so the training is the same with and without the picture.

    Args:
        transform: the `PerturbLabeld` of the training transforms; it knows the radius and IoU of the cases that it has
            changed, from which the cases are chosen. Cases whose clean mask is empty are left out.
        dataset: of the training cases, a MONAI dataset whose `transform` is a `Compose` with `transform` in it.
        output_dir: where label_noise.png goes.
        cases: how many to draw.
    """

    def __init__(self, transform: Any, dataset: Any, output_dir: str, cases: int = 4) -> None:
        self.transform, self.dataset, self.cases = transform, dataset, int(cases)
        self.file = Path(output_dir) / "label_noise.png"

    def attach(self, engine: Any) -> None:
        """Draw when `engine` starts, on rank 0, where there is noise."""
        if self.transform.severity and idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Draw the cases; without any there is no picture."""
        radii = {case: radius for case, (radius, iou) in self.transform.ious.items() if np.isfinite(iou)}
        entries = {str(entry[self.transform.case_key]): entry for entry in self.dataset.data}
        rows = [self._row(case, entries[case]) for case in spread_out(radii, self.cases)]
        if rows:
            draw_overlays(rows, self.file, ("clean mask", "noisy mask"))

    def _row(self, case: str, entry: Mapping[str, Any]) -> Overlay:
        """Read a case up to its clean mask, perturb that, and keep what is around the two."""
        steps = self.dataset.transform
        clean = steps(dict(entry), end=steps.transforms.index(self.transform))
        items = (clean["image"], clean["label"], self.transform(clean)["label"])
        affine = np.asarray(getattr(clean["image"], "affine", np.eye(4)), dtype=np.float64)
        image, mask, noisy = (np.asarray(item)[0] for item in items)
        margin = [math.ceil(MARGIN / side) for side in spacing_of(affine)]
        box = generate_spatial_bounding_box((mask + noisy)[None], margin=margin, allow_smaller=True)
        near = tuple(slice(start, end) for start, end in zip(*box, strict=True))
        radius, iou = self.transform.ious[case]
        how = "eroded" if radius < 0 else "dilated"
        title = f"{case} · {how}, radius {radius:+.1f} mm · IoU {iou:.3f} with the clean mask"
        return Overlay(image[near].copy(), mask[near].copy(), noisy[near].copy(), affine, title)
