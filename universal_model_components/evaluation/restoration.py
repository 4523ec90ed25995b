# SPDX-License-Identifier: Apache-2.0
"""Evaluation of pre-training on cubes of held-out cases: restoration errors, and linear probes of the encoder.

Restoration is measured for each kind of corruption separately and for the training mix, with each cube's corruption
fixed by its seed, and compared with two baselines without a network: the corrupted cube itself, and the cube's mean.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, default_collate
from tqdm.auto import tqdm

from ..cubes.cropping import SCALES
from ..utils.versions import versions
from ..weights.strict import load_weights
from .probes import describe_probe, draw_evenly, linear_probe, measure_features
from .restoration_metrics import MEASURES, by, mean_intensities, measure_restoration, restore, summarize
from .writing import write_evaluation

logger = logging.getLogger(__name__)

Measured = tuple[dict[str, list[np.ndarray]], dict[str, np.ndarray]]  # what `measure_features` returns


class RestorationEvaluation:
    """The evaluation of one model on one split; `run` writes evaluation.json, evaluation.csv and panels/<kind>.png.

    Args:
        network: a `UniversalModel`; the weights are loaded into it strictly.
        weights: file of its plain state dict.
        dataset: cubes of held-out cases.
        training_dataset: cubes of the training cases, for the probes; may be empty.
        corruptions: by kind; "overall" is the training mix, also used for the probes' corrupted input.
        modalities: names of the modality labels.
        output_dir: folder for the files.
        device: for the computation.
        batch_size: cubes at a time.
        num_workers: processes that read cubes.
        probe_cubes: cubes of each of the two splits for the probes, drawn evenly over the cases; 0 runs no probe.
        panel_cubes: cubes in a panel; 0 draws none.
        seed: of the choice of cubes for probes and panels.
        split: name of the held-out split, for the report.
        draw: draws a panel, such as `figures.panels.draw_panel`; None draws nothing.
        recipe: of the cubes, see `weights.strict.check_weights`.

    Raises:
        OSError: on `run`, when the weights are missing, or a file cannot be read or written.
        ValueError: on `run`, when the weights do not fit.
        FloatingPointError: on `run`, when the model's output is not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: str,
        dataset: Dataset,
        training_dataset: Dataset,
        corruptions: Mapping[str, Callable[..., tuple[Tensor, Tensor]]],
        modalities: Sequence[str],
        output_dir: str,
        device: torch.device | str = "cpu",
        batch_size: int = 6,
        num_workers: int = 0,
        probe_cubes: int = 2000,
        panel_cubes: int = 4,
        seed: int = 0,
        split: str = "validation",
        draw: Callable[..., Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.weights, self.device = network, weights, torch.device(device)
        self.recipe = recipe
        self.dataset, self.training_dataset = dataset, training_dataset
        self.corruptions, self.split, self.draw = dict(corruptions), split, draw
        self.classes = {"modality": list(modalities), "scale": list(SCALES)}
        self.output_dir = Path(output_dir)
        self.batch_size, self.num_workers, self.seed = int(batch_size), int(num_workers), int(seed)
        self.probe_cubes, self.panel_cubes = int(probe_cubes), int(panel_cubes)

    def run(self) -> dict[str, Any]:
        """Evaluate, write the files, and return what evaluation.json holds."""
        report, rows = self._measure()
        self._write(report, rows)
        return report

    def _measure(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        started = time.monotonic()
        load_weights(self.network, self.weights, self.recipe).to(self.device).eval()
        chosen = [
            draw_evenly(cube_cases(data), self.probe_cubes, self.seed) for data in (self.training_dataset, self.dataset)
        ]
        sets = [self.dataset, Subset(self.training_dataset, chosen[0]), Subset(self.dataset, chosen[1])]
        loaders = [DataLoader(data, self.batch_size, num_workers=self.num_workers) for data in sets]
        with tqdm(total=sum(map(len, loaders)), desc="evaluation", unit="batch") as bar:
            held_out, train, test = (_counted(loader, bar) for loader in loaders)
            means = mean_intensities(loaders[1], len(self.classes["modality"]))
            rows = measure_restoration(self.network, held_out, self.corruptions, self.device, means)
            mix = self.corruptions["overall"]
            train_set, test_set = (measure_features(self.network, part, mix, self.device) for part in (train, test))
            bar.set_postfix_str("probes")
            shared = set(cube_cases(self.training_dataset)) & set(cube_cases(self.dataset))
            probes = {name: self._probe(name, train_set, test_set, bool(shared)) for name in self.classes}
        report = {
            "split": self.split,
            "cubes": len(self.dataset),  # type: ignore[arg-type]
            "cases": sorted({row["case"] for row in rows}),
            "weights": str(self.weights),
            "restoration": {kind: summarize(part) for (kind,), part in by(rows, "kind").items()},
            "probes": probes,
            "seconds": round(time.monotonic() - started, 1),
            "versions": versions(),
        }
        return report, rows

    def _probe(self, name: str, train: Measured, test: Measured, same_cases: bool) -> dict[str, Any]:
        """Probe one kind of label on every level, for clean and for corrupted input."""
        (train_features, train_labels), (test_features, test_labels) = train, test
        report = describe_probe(train_labels[name], test_labels[name], self.classes[name])
        if same_cases and "skipped" not in report:
            report["skipped"] = "it would be tested on the cases that it is trained on"
        if "skipped" in report:
            logger.warning("probe of %s skipped: %s", name, report["skipped"])
            return report
        levels: dict[str, dict[str, float]] = {}
        for given in train_features:
            pairs = zip(train_features[given], test_features[given], strict=True)
            for depth, (known, unknown) in enumerate(pairs, start=1):
                score = linear_probe(known, train_labels[name], unknown, test_labels[name])
                levels.setdefault(str(depth), {})[given] = score
        return {**report, "levels": levels}

    def _write(self, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the report, a row for each case and kind, and the panels; each file atomically."""
        table, measures = [], ("cubes", *(name for name in MEASURES if name in rows[0]))
        for (case, modality, kind), part in by(rows, "case", "modality", "kind").items():
            row, summary = {"case": case, "modality": self.classes["modality"][modality], "kind": kind}, summarize(part)
            table.append({**row, **{name: summary[name] for name in measures}})
        write_evaluation(self.output_dir, ("case", "modality", "kind", *measures), table, report)
        self._draw_panels()
        logger.info("evaluation of %s in %s:\n%s", self.weights, self.output_dir, table_of(report))

    @torch.no_grad()
    def _draw_panels(self) -> None:
        if self.draw is None or self.panel_cubes == 0:
            return
        chosen = draw_evenly(cube_cases(self.dataset), self.panel_cubes, self.seed)
        batch = default_collate([self.dataset[index] for index in chosen])
        scales = [SCALES[scale] for scale in batch["scale"].tolist()]
        names = [f"{case}\n{scale}" for case, scale in zip(batch["case"], scales, strict=True)]
        for kind, corruption in self.corruptions.items():
            corrupted, target = corruption(batch["image"].to(self.device), seeds=batch["seed"])
            cubes = target, corrupted, restore(self.network, corrupted)
            self.draw(*cubes, self.output_dir / "panels" / f"{kind}.png", title=kind, names=names)


def cube_cases(dataset: Any) -> list[str]:
    """Name the case of every cube of a `CubeDataset`; no cube is read."""
    return [record["case"] for record in dataset.data for _ in range(sum(record["counts"]))]


def table_of(report: Mapping[str, Any]) -> str:
    """Format the results of a report as lines for the log."""
    lines = [
        f"{'corruption':>12} {'restored':>10} {'corrupted':>10} {'train mean':>10} {'own mean':>10} {'matched':>10} "
        f"{'PSNR dB':>8}  (MSE, mean over cubes)"
    ]
    for kind, row in report["restoration"].items():
        errors = " ".join(f"{row.get(name, math.nan):10.5f}" for name in MEASURES[:-1])
        lines.append(f"{kind:>12} {errors} {row['psnr']:8.2f}")
    for name, probe in report["probes"].items():
        if "skipped" in probe:
            lines.append(f"{name} probe: skipped, {probe['skipped']}")
            continue
        for given in ("clean", "corrupted"):
            scores = " ".join(f"{level}: {values[given]:.3f}" for level, values in probe["levels"].items())
            lines.append(
                f"{name} probe, {given} input, {probe['metric']} by level {scores} (chance {probe['chance']:.3f})"
            )
    return "\n".join(lines)


def _counted(batches: Iterable[Any], bar: tqdm) -> Iterator[Any]:
    for batch in batches:
        yield batch
        bar.update()
