# SPDX-License-Identifier: Apache-2.0
"""The evaluation of a classifier, as a handler of MONAI's evaluator: one row per sample, a summary, pictures."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Events

from ..figures.charts import draw_confusion, draw_cubes, draw_roc
from ..utils.versions import versions
from .classification_metrics import NAMES, summarize
from .writing import unusable_of, write_evaluation

logger = logging.getLogger(__name__)

COORDINATES = ("coordX", "coordY", "coordZ")
MISTAKES = 6  # cubes in the picture


class ClassificationReport:
    """Collect an evaluator's predictions; write evaluation.csv and .json, roc.png, confusion.png and mistakes.png.

    Args:
        output_dir: folder for the files.
        threshold: a sample counts as positive if its probability is at least this.
        bootstrap: resamples for the AUC's interval.
        seed: of the bootstrap.
        split: name of the evaluated list, for the report.
        names: of the two classes, for the charts.
        origin: further keys of the report that state the origin of the results, such as the weights' file.
        source: of the samples; its `problems` (`imaging.unusable.Unusable`) are the cases whose files cannot be used,
            which the report names as not scored. None has none.

    Raises:
        ValueError: at the end of the evaluation, when there is no sample that can be used.
        FloatingPointError: at the end of the evaluation, when a probability is not finite.
        OSError: when a file cannot be written; an existing file is kept.
    """

    def __init__(
        self,
        output_dir: str,
        threshold: float = 0.5,
        bootstrap: int = 1000,
        seed: int = 0,
        split: str = "test",
        names: Sequence[str] = NAMES,
        origin: Mapping[str, Any] | None = None,
        source: Any = None,
    ) -> None:
        self.output_dir, self.names, self.split, self.source = Path(output_dir), list(names), split, source
        self.settings = {"threshold": float(threshold), "repeats": int(bootstrap), "seed": int(seed)}
        self.origin = dict(origin or {})
        self.rows: list[dict[str, Any]] = []
        self.mistakes: list[tuple[float, int, Any]] = []  # (how wrong, row, cube), the worst few
        self.summary: dict[str, Any] = {}

    def attach(self, engine: Any) -> None:
        """Collect every batch of `engine`, whose postprocessing computes probabilities; write when it completes."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self) -> None:
        self.rows, self.mistakes = [], []

    def _collect(self, engine: Any) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            row: dict[str, Any] = {"case": str(item["case"]), "group": str(item["group"])}
            if "position" in item:
                row |= {"seriesuid": item["seriesuid"]}
                row |= dict(zip(COORDINATES, item["position"].tolist(), strict=True))
            probability, label = float(output["pred"][1]), int(output["label"])
            row |= {"label": label, "probability": probability}
            row["predicted"] = int(probability >= self.settings["threshold"])
            if row["predicted"] != label:
                cube = output["image"][0].float().cpu().numpy()
                mistake = abs(label - probability), len(self.rows), cube
                self.mistakes = heapq.nlargest(MISTAKES, [*self.mistakes, mistake])
            self.rows.append(row)

    def _write(self) -> None:
        unusable = unusable_of(self.source, len(self.rows), self.split)
        summary = summarize(self.rows, **self.settings)  # type: ignore[arg-type]
        left_out = [{"case": case, "reason": reason} for case, reason in unusable]
        self.summary = {"split": self.split, **self.origin, **summary, "not_scored": left_out, "versions": versions()}
        rows = [*self.rows, *left_out]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        write_evaluation(self.output_dir, columns, rows, self.summary)
        draw_roc(self.rows, summary, self.output_dir / "roc.png")
        draw_confusion(summary, self.names, self.output_dir / "confusion.png")
        self._draw_mistakes(self.output_dir / "mistakes.png")
        logger.info("evaluation in %s: %s", self.output_dir, describe(summary))
        for problem in summary["problems"]:
            logger.warning("evaluation: %s", problem)
        for case, reason in unusable:
            logger.warning("evaluation: not scored: %s: %s", case, reason)

    def _draw_mistakes(self, file: Path) -> None:
        """Draw the samples with the largest errors, the largest first; no picture when there is no mistake."""
        file.unlink(missing_ok=True)
        if self.mistakes:
            rows = [self.rows[place] for _, place, _ in self.mistakes]
            titles = [f"{row['case'][-40:]}: {self.names[row['label']]}, {row['probability']:.3f}" for row in rows]
            cubes = [cube for *_, cube in self.mistakes]
            draw_cubes(cubes, titles, file, "true class and probability of the positive one")


def describe(summary: Mapping[str, Any]) -> str:
    """Return a summary as one line."""

    def shown(value: float | None) -> str:
        return "none" if value is None else f"{value:.3f}"

    interval = summary["auc_interval"]
    between = f" ({shown(interval[0])} to {shown(interval[1])})" if interval else ""
    rates = ", ".join(f"{name} {shown(summary[name])}" for name in ("accuracy", "sensitivity", "specificity"))
    counts = f"{summary['positives']} positives and {summary['negatives']} negatives of {summary['patients']} patients"
    return f"{counts}, AUC {shown(summary['auc'])}{between}; at {summary['threshold']:g}: {rates}"
