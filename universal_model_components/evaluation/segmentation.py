# SPDX-License-Identifier: Apache-2.0
"""Evaluation of segmentations in each scan's native image space, against the unmodified label file.

A MONAI evaluator segments; its post-processing maps the mask back to native image space and `OriginalLabeld` loads the
label of the file, so that MONAI's metric handlers and `SegmentationReport` measure the same two masks.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..figures.overlays import Overlay, draw_overlays
from ..imaging.geometry import check_same_grid, spacing_of
from ..imaging.labels import Labels
from ..imaging.reading import read_scan
from ..imaging.scan_files import stem
from ..imaging.transforms import grid_of
from ..imaging.unusable import Unusable
from ..utils.settings import to_bool
from ..utils.versions import versions
from .segmentation_metrics import COUNTS, MEASURES, measure_masks, representative_cases, summarize_masks
from .writing import unusable_of, write_evaluation

logger = logging.getLogger(__name__)

COLUMNS = ("case", "group", *MEASURES, "reference_ml", "predicted_ml", *COUNTS, "reason")
PICTURES = ("best", "median", "worst")


class OriginalLabeld(MapTransform):
    """Replace a label, resampled or not, by the one in its file: native image space, values merged to foreground.

    The new label is on the device of the one that it replaces.

    Args:
        keys: `MetaTensor`s whose metadata name the file (`filename_or_obj`).
        label_values: which values are foreground, see `imaging.labels.Labels`.
        allow_missing_keys: skip missing keys.

    Raises:
        ScanError: when the file cannot be read, or contains an unexpected value; one line.
    """

    def __init__(self, keys: KeysCollection, label_values: Any = None, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = Labels(label_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files."""
        result = dict(data)
        for key in self.key_iterator(result):
            file = _file_of(result[key], str(key))
            voxels, affine = read_scan(file)
            wide = torch.from_numpy(np.ascontiguousarray(voxels.astype(np.float32)))
            mask = self.labels.merge(wide, file)[None].to(result[key].device)
            result[key] = MetaTensor(mask, affine=torch.as_tensor(affine), meta={"filename_or_obj": file})
        return result


class SegmentationReport:
    """Ignite handler that measures every case and writes evaluation.csv, evaluation.json and overlays/*.png.

    Args:
        output_dir: folder for the files; those of an earlier evaluation are replaced.
        split: name of the evaluated list, for the report.
        weights: file of the weights, for the report.
        case_key: key of the case's id in a batch; without it, the image's path is the id.
        overlays: draw the best, the median and the worst case.
        source: of the cases; its `problems` (`imaging.unusable.Unusable`) are the cases whose files cannot be used,
            which the report names as not scored. None has none.

    `engine.state.output` holds, for each case, "pred" (a mask) and "label" (a mask), `MetaTensor`s (1, H, W, D) in
    native image space; `engine.state.batch` the "image" whose metadata name its file.

    Raises:
        ValueError: when prediction and label of a case lie on different grids, the prediction has several channels,
            there is no case, none can be used, or several processes evaluate.
        OSError: when a file cannot be written; the message names it.
    """

    def __init__(
        self,
        output_dir: str,
        split: str = "validation",
        weights: str = "",
        case_key: str = "case",
        overlays: bool | str = True,
        source: Any = None,
    ) -> None:
        self.output_dir, self.split, self.weights = Path(output_dir), split, str(weights)
        self.case_key, self.overlays, self.source = case_key, to_bool(overlays, "overlays"), source
        self.rows: list[dict[str, Any]] = []
        self.kept: list[tuple[str, bytes, bytes]] = []  # image file, and both masks packed to a hundredth of their size

    def attach(self, engine: Engine) -> None:
        """Measure each case of `engine`, and report at the end of its epoch."""
        if idist.get_world_size() > 1:
            raise ValueError("several processes, expected one: run it without torchrun")
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self) -> None:
        self.rows, self.kept = [], []

    def _measure(self, engine: Engine) -> None:
        batch, outputs = cast(Any, engine.state.batch), cast(Any, engine.state.output)
        for item, output in zip(batch, outputs, strict=True):
            image = _file_of(item["image"], "image")
            case = str(item.get(self.case_key, stem(image)))
            prediction, label = output["pred"], output["label"]
            grid = grid_of(label, f"{case}: label")
            predicted = grid_of(prediction, "pred")._replace(file=f"{case}: prediction")
            check_same_grid(predicted, grid, "see validate::postprocessing, or repair the label's header")
            one, other = (torch.as_tensor(mask).cpu()[0] > 0.5 for mask in (prediction, label))
            row = {
                "case": case,
                "group": str(item.get("group", case)),
                **measure_masks(one, other, spacing_of(grid.affine)),
            }
            if row["reason"]:
                logger.warning("%s: %s", case, row["reason"])
            self.rows.append(row)
            self.kept.append((image, _pack(other), _pack(one)))

    def _finish(self, engine: Engine) -> None:
        unusable = unusable_of(self.source, len(self.rows), self.split)
        chosen = representative_cases(self.rows) if self.overlays else {}
        origin = {"split": self.split, "weights": self.weights, "versions": versions()}
        pictures = {name: self.rows[place]["case"] for name, place in chosen.items()}
        summary = {**origin, **summarize_masks(self.rows, unusable), "pictures": pictures}
        engine.state.metrics.update({name: summary[name]["mean"] for name in MEASURES if summary[name]["cases"]})
        write_evaluation(self.output_dir, COLUMNS, [*self.rows, *map(Unusable._asdict, unusable)], summary)
        self._draw(chosen)
        logger.info("evaluation of %s in %s:\n%s", self.split, self.output_dir, table_of(summary))

    def _draw(self, chosen: Mapping[str, int]) -> None:
        for name in PICTURES:
            picture = self.output_dir / "overlays" / f"{name}.png"
            if name not in chosen:
                picture.unlink(missing_ok=True)  # of an earlier evaluation
                continue
            row, (file, *masks) = self.rows[chosen[name]], self.kept[chosen[name]]
            image, affine = read_scan(file)
            distance = "none" if row["hd95_mm"] is None else f"{row['hd95_mm']:.1f} mm"
            title = f"{name}: {row['case']} · IoU {row['iou']:.3f} · Dice {row['dice']:.3f} · HD95 {distance}"
            reference, prediction = (_unpack(mask, image.shape) for mask in masks)
            draw_overlays([Overlay(image, reference, prediction, affine, title)], picture)


def table_of(summary: Mapping[str, Any]) -> str:
    """Format a summary as lines for the log."""
    lines = [f"{'measure':>12} {'mean':>9} {'sd':>9} {'median':>9} {'minimum':>9} {'maximum':>9} {'cases':>6}"]
    for name in MEASURES:
        figures = [summary[name][key] for key in ("mean", "sd", "median", "minimum", "maximum")]
        cells = " ".join(f"{'-' if value is None else format(value, '.4f'):>9}" for value in figures)
        lines.append(f"{name:>12} {cells} {summary[name]['cases']:6d}")
    pooled = summary["pooled_iou"]
    lines.append(f"{'pooled_iou':>12} {'-' if pooled is None else format(pooled, '.4f'):>9}")
    lines += [f"not scored: {entry['case']}: {entry['reason']}" for entry in summary["not_scored"]]
    return "\n".join(lines)


def _file_of(tensor: Any, key: str) -> str:
    name = (getattr(tensor, "meta", None) or {}).get("filename_or_obj")
    if not name:
        raise ValueError(f"{key} does not say which file it is from, expected a MetaTensor of LoadImaged")
    return str(name)


def _pack(mask: torch.Tensor) -> bytes:
    return zlib.compress(np.packbits(mask.numpy()).tobytes(), level=1)


def _unpack(packed: bytes, shape: Sequence[int]) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=int(np.prod(shape)))
    return bits.reshape(shape).astype(bool)
