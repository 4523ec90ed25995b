# SPDX-License-Identifier: Apache-2.0
"""Noisy training masks: each is eroded or dilated at random, to imitate an annotator's errors (paper V-E).

The paper does not state the amount. Here the severity is a radius in mm: a case's mask shrinks or grows (with equal
probability) by a radius between 1 mm and the severity. Radius and direction are a function of seed and case, so every
epoch sees the same annotation, as if one annotator had drawn it once. The effect depends on the size of the structure,
so the IoU between clean and noisy masks is reported.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.config import KeysCollection
from monai.metrics import compute_iou
from monai.transforms import MapTransform
from scipy import ndimage
from torch import Tensor

from ..utils.files import write_text
from ..utils.settings import to_optional

logger = logging.getLogger(__name__)

SMALLEST_RADIUS = 1.0  # mm: a smaller radius moves no boundary on a grid of 1 mm


def read_severity(value: Any) -> float:
    """Read the key `label_noise`: 0, null and false are off, a number of 1 or more is the largest radius in mm.

    Raises:
        ValueError: when it is something else.
    """
    value = to_optional(value)
    if value is None or value is False or str(value).strip().lower() == "false":
        return 0.0
    try:
        severity = float(value)
    except (TypeError, ValueError):
        severity = np.nan
    if isinstance(value, bool) or not (severity == 0 or SMALLEST_RADIUS <= severity < np.inf):
        raise ValueError(f"label_noise: {value!r} is not a radius of 1 mm or more: give one, or 0 for clean masks")
    return severity


def draw_radii(cases: Sequence[str], severity: float, seed: int = 0) -> Tensor:
    """Draw how far the boundary of each case's mask moves, in mm: outwards where positive, inwards where negative.

    Args:
        cases: ids; a case's radius does not depend on the others.
        severity: largest radius, mm; 0 moves nothing.
        seed: of the annotator.

    Shape:
        B ids → (B,).
    """
    radii = torch.zeros(len(cases), dtype=torch.float64)
    for place, case in enumerate(cases if severity else ()):
        digest = hashlib.sha256(f"label_noise:{seed}:{case}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        direction = 1 if generator.random() < 0.5 else -1
        radii[place] = direction * generator.uniform(SMALLEST_RADIUS, severity)
    return radii


def move_boundaries(masks: Tensor, radii: Tensor, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Tensor:
    """Dilate or erode each mask by a ball of its own radius.

    An erosion that would remove everything keeps the innermost voxels: an annotator of a lesion marks something. The
    edge of the volume is not a boundary. An empty mask stays empty.

    Args:
        masks: above 0.5 is inside.
        radii: mm; positive dilates, negative erodes.
        spacing: mm.

    Shape:
        masks (B, 1, H, W, D), radii (B,) → (B, 1, H, W, D), of the same type.
    """
    moved = [
        _move_boundary(mask.numpy(), float(radius), spacing)
        for mask, radius in zip((masks[:, 0] > 0.5).cpu(), radii, strict=True)
    ]
    return torch.from_numpy(np.stack(moved))[:, None].to(masks)


def _move_boundary(mask: np.ndarray, radius: float, spacing: Sequence[float]) -> np.ndarray:
    if not mask.any() or radius == 0:
        return mask
    margin = [int(np.ceil(abs(radius) / side)) + 1 for side in spacing]
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = tuple(slice(max(0, part.start - edge), part.stop + edge) for part, edge in zip(box, margin, strict=True))
    inside = mask[box]  # only here can anything change
    result = mask.copy()
    if radius > 0:
        result[box] = ndimage.distance_transform_edt(~inside, sampling=spacing) <= radius
    elif not inside.all():
        depth = ndimage.distance_transform_edt(inside, sampling=spacing)
        result[box] = depth > -radius if depth.max() > -radius else depth == depth.max()
    return result


class PerturbLabeld(MapTransform):
    """Apply one annotator's noise to training masks; it is deterministic, so a cache may keep its result.

    Args:
        keys: of masks, tensors (1, H, W, D), `MetaTensor`s where the voxels' sides are not 1 mm.
        severity: largest radius in mm, see `read_severity`.
        seed: of the annotator.
        case_key: key of the case's id.
        allow_missing_keys: skip missing keys.

    Raises:
        ValueError: when the severity is invalid, or a case has no id.
    """

    def __init__(
        self,
        keys: KeysCollection,
        severity: Any = 0,
        seed: int = 0,
        case_key: str = "case",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.severity = read_severity(severity)
        self.seed, self.case_key = int(seed), case_key
        self.ious: dict[str, tuple[float, float]] = {}  # case → radius and IoU, in this process

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace masks by noisy ones."""
        result = dict(data)
        for key in self.key_iterator(result) if self.severity else ():
            if self.case_key not in result:
                raise ValueError(f"label_noise: a case has no {self.case_key!r} (found {sorted(map(str, result))})")
            case, clean = str(result[self.case_key]), result[key]
            radii = draw_radii([case], self.severity, self.seed)
            spacing = getattr(clean, "pixdim", torch.ones(3)).tolist()
            plain = torch.as_tensor(clean).as_subclass(Tensor)[None]
            noisy = move_boundaries(plain, radii, spacing)
            self.ious[case] = float(radii[0]), float(compute_iou(noisy > 0.5, plain > 0.5))
            result[key] = clean.clone()
            result[key][:] = noisy[0]
        return result


class LabelNoiseReport:
    """Log how noisy the training masks are, as a mean IoU with the clean ones, and write each case's to a CSV file.

    Args:
        transform: the `PerturbLabeld` of the training transforms.
        cases: how many there are. With a cache of all of them, all have been changed when training starts; those left
            to worker processes are not in the mean, and the line says so.
        output_dir: where label_noise.csv goes; columns case, radius_mm (negative where eroded), iou.
    """

    def __init__(self, transform: PerturbLabeld, cases: int, output_dir: str) -> None:
        self.transform, self.cases, self.file = transform, int(cases), Path(output_dir) / "label_noise.csv"

    def attach(self, engine: Any) -> None:
        """Report when `engine` starts, on rank 0."""
        if self.transform.severity and idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Report the masks that the transform has changed so far."""
        rows = [(case, *values) for case, values in sorted(self.transform.ious.items())]
        ious = [iou for _, _, iou in rows if np.isfinite(iou)]  # a clean mask may be empty
        mean = f"mean IoU {np.mean(ious):.3f} ({min(ious):.3f} to {max(ious):.3f})" if ious else "no IoU known yet"
        logger.warning(
            "label_noise: training masks eroded or dilated by 1 to %g mm: %s with the clean ones, over %d of %d cases",
            *(self.transform.severity, mean, len(ious), self.cases),
        )
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("case", "radius_mm", "iou"), *rows])
        write_text(self.file, text.getvalue())
