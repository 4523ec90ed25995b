# SPDX-License-Identifier: Apache-2.0
"""Cross-validate a classification bundle: for data sets that are too small to hold a test set out.

    python scripts/cross_validate.py BUNDLE DATALIST --dataset_dir DIR --output DIR [--folds 5] [--validate] -- OPTIONS

DATALIST's `training` list holds every case. Patients are dealt into folds, classes in equal shares. Fold k tests a
network that was trained on the others, after the last epoch; with `--validate`, on the others but one, which chooses
the epoch. No case is ever chosen on and tested on.
OPTIONS go to the bundle's training and evaluation. OUTPUT gets fold_k/ (a bundle root each) and cross_validation.json
and .csv, charts beside them: all folds' answers pooled, and the AUC of each fold.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from sklearn.model_selection import StratifiedGroupKFold

from universal_model_components.evaluation.classification import describe
from universal_model_components.evaluation.classification_metrics import summarize
from universal_model_components.figures.charts import draw_confusion, draw_roc
from universal_model_components.tasks.classification_data import read_classes, sample_labels


def deal(entries: list[dict[str, Any]], folds: int, seed: int) -> list[list[dict[str, Any]]]:
    """Deal entries into folds, patients whole, classes in equal shares (of candidates: with and without a nodule)."""
    labels = [max(sample_labels([entry]).tolist(), default=0) for entry in entries]
    groups = [str(entry.get("group", entry["case"])) for entry in entries]
    for label in (0, 1):
        patients = len({group for group, own in zip(groups, labels, strict=True) if own == label})
        if 0 < patients < folds:
            raise SystemExit(f"folds: {folds} is more than the {patients} patients of class {label}: give fewer")
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [[entries[i] for i in held_out] for _, held_out in dealer.split(entries, labels, groups)]


def run_fold(bundle: Path, root: Path, lists: dict[str, Any], shared: list[str], options: list[str]) -> None:
    """Train and evaluate one fold with the bundle's own commands; what they print goes to log.txt."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "datalist.json").write_text(json.dumps(lists, indent=1))
    with (root / "log.txt").open("w") as log:
        for names in (["train"], ["train", "evaluate"]):
            files = str([str(bundle.resolve() / "configs" / f"{name}.json") for name in names])
            command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files]
            command += ["--bundle_root", str(root), "--datalist", str(root / "datalist.json"), *shared, *options]
            if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ).returncode:
                raise SystemExit(f"{' '.join(names)} failed: see {log.name}")


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read a fold's evaluation.csv."""
    with file.open(newline="") as stream:
        return [
            {**row, "label": int(row["label"]), "probability": float(row["probability"])}
            for row in csv.DictReader(stream)
        ]


def main() -> None:
    """Run every fold and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true")
    arguments = sys.argv[1:]
    options = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    given = parser.parse_args(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    dataset_dir = given.dataset_dir.resolve()
    entries = read_classes(str(given.datalist), str(dataset_dir), "training")
    folds = deal(entries, given.folds, given.seed)
    output = given.output.resolve()
    shared = ["--dataset_dir", str(dataset_dir), "--cache_dir", str(output / "cache")]
    shared += ["--seed", str(given.seed)]
    rows: list[dict[str, Any]] = []
    aucs: list[float] = []
    for k, test in enumerate(folds):
        chooses = (k + 1) % len(folds) if given.validate else k
        training = [one for j, fold in enumerate(folds) if j not in (k, chooses) for one in fold]
        lists = {"training": training, "validation": folds[chooses] if given.validate else [], "test": test}
        run_fold(given.bundle, output / f"fold_{k}", lists, shared, options)
        found = read_rows(output / f"fold_{k}" / "output" / "evaluation.csv")
        rows += [{"fold": k, **row} for row in found]
        summary = summarize(found, seed=given.seed)
        aucs += [] if summary["auc"] is None else [summary["auc"]]
        print(f"fold {k}: {describe(summary)}", flush=True)
    summary = summarize(rows, seed=given.seed)
    summary |= {"folds": len(folds), "fold_auc": aucs, "mean_fold_auc": statistics.mean(aucs) if aucs else None}
    (output / "cross_validation.json").write_text(json.dumps(summary, indent=2) + "\n")
    with (output / "cross_validation.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    draw_roc(rows, summary, output / "roc.png")
    draw_confusion(summary, ["negative", "positive"], output / "confusion.png")
    print(f"pooled: {describe(summary)}; mean AUC of the folds {summary['mean_fold_auc']}")


if __name__ == "__main__":
    main()
