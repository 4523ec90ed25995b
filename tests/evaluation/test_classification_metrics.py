# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import ROCAUC
from monai.transforms import Activationsd

from universal_model_components.evaluation.classification import ClassificationReport, describe
from universal_model_components.evaluation.classification_metrics import (
    bootstrap_auc,
    probabilities_and_labels,
    probability_cross_entropy,
    rate,
    scores_and_labels,
    summarize,
)


def rows_of(labels, scores, groups=None):
    groups = groups or [str(n) for n in range(len(labels))]
    return [
        {"case": f"case_{n}", "group": g, "label": int(y), "probability": float(p)}
        for n, (y, p, g) in enumerate(zip(labels, scores, groups, strict=True))
    ]


def test_figures_by_hand():
    """AUC by its definition: the share of pairs in which the positive scores higher, ties one half."""
    labels, scores = [0, 0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.5, 0.4, 0.9, 0.7, 0.6]
    pairs = itertools.product(
        [s for s, y in zip(scores, labels, strict=True) if y], [s for s, y in zip(scores, labels, strict=True) if not y]
    )
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs]
    summary = summarize(rows_of(labels, scores), threshold=0.5)
    assert summary["auc"] == pytest.approx(sum(wins) / len(wins))
    assert summary["confusion"] == [[2, 2], [1, 2]]  # 0.5 itself is positive
    assert (summary["accuracy"], summary["sensitivity"], summary["specificity"]) == (4 / 7, 2 / 3, 0.5)
    low, high = summary["auc_interval"]
    assert low <= summary["auc"] <= high
    assert summary["problems"] == []


def test_the_interval_is_seeded_and_draws_patients(generator):
    labels = np.tile([0, 0, 1, 1], 10)
    scores = labels * 0.3 + torch.rand(40, generator=generator).numpy()
    alone = [str(n) for n in range(40)]
    first, used = bootstrap_auc(labels, scores, alone, seed=1)
    assert bootstrap_auc(labels, scores, alone, seed=1)[0] == first
    assert bootstrap_auc(labels, scores, alone, seed=2)[0] != first
    assert used == 1000
    repeated, patients = np.repeat(labels, 5), np.repeat(alone, 5)
    together, _ = bootstrap_auc(repeated, np.repeat(scores, 5), patients, seed=1)
    assert together == pytest.approx(first)  # five copies of a patient's sample carry no more information than one


@pytest.mark.parametrize(
    ("labels", "message"), [[[1, 1], "no negative sample among 2"], [[0], "no positive"], [[], "no negative and no"]]
)
def test_a_missing_class_is_reported(labels, message):
    summary = summarize(rows_of(labels, [0.7] * len(labels)))
    assert summary["auc"] is summary["auc_interval"] is None
    assert message in summary["problems"][0]


def test_a_broken_probability_is_named():
    with pytest.raises(FloatingPointError, match="case_1: probability nan"):
        summarize(rows_of([0, 1], [0.5, float("nan")]))


class Echo(torch.nn.Module):
    """Logits that are read from the image, so that the probabilities are known."""

    def forward(self, image):
        value = image.flatten(1)[:, :1]
        return torch.cat([torch.zeros_like(value), torch.logit(value)], dim=1)


def evaluate(items, folder, **kwargs):
    report = ClassificationReport(str(folder), bootstrap=100, **kwargs)
    engine = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=Echo(),
        postprocessing=Activationsd(keys="pred", softmax=True),
        key_val_metric={"val_auc": ROCAUC(output_transform=scores_and_labels)},
        val_handlers=[report],
    )
    engine.run()
    return engine, report


def item(number, label, score, **more):
    image = torch.full((1, 2, 2, 2), score)
    return {"image": image, "label": label, "case": f"scan_{number}", "group": f"patient_{number}", **more}


def test_report_of_an_evaluator(tmp_path):
    items = [item(0, 0, 0.2), item(1, 1, 0.8), item(2, 0, 0.6), item(3, 1, 0.4), item(4, 1, 0.9)]
    position = {"position": torch.tensor([-56.08, -67.85, -311.92], dtype=torch.float64), "seriesuid": "1.2.3"}
    for one in items:
        one.update(position)
    engine, _ = evaluate(items, tmp_path, threshold=0.5, split="test", origin={"weights": "model.pt"})
    summary = json.loads((tmp_path / "evaluation.json").read_text())
    assert summary["auc"] == pytest.approx(5 / 6)
    assert engine.state.metrics["val_auc"] == pytest.approx(5 / 6)
    assert (summary["split"], summary["weights"], summary["confusion"]) == ("test", "model.pt", [[1, 1], [1, 2]])
    rows = list(csv.DictReader((tmp_path / "evaluation.csv").open()))
    assert [row["case"] for row in rows] == [f"scan_{n}" for n in range(5)]
    assert [float(row["probability"]) for row in rows] == pytest.approx([0.2, 0.8, 0.6, 0.4, 0.9])
    assert (rows[0]["seriesuid"], rows[0]["coordZ"], rows[3]["predicted"]) == ("1.2.3", "-311.92", "0")
    for name in ("roc.png", "confusion.png", "mistakes.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_report_without_a_class(tmp_path, caplog):
    evaluate([item(0, 1, 0.2), item(1, 1, 0.8)], tmp_path)
    summary = json.loads((tmp_path / "evaluation.json").read_text())
    assert summary["auc"] is None
    assert summary["specificity"] is None
    assert summary["sensitivity"] == 0.5
    assert "no negative sample" in caplog.text
    assert (tmp_path / "roc.png").is_file()


def test_the_worst_mistakes_are_drawn(tmp_path):
    items = [item(n, n % 2, 0.4 + 0.02 * n) for n in range(20)] + [item(20, 1, 0.01)]
    _, report = evaluate(items, tmp_path)
    wrong = [row for row in report.rows if row["predicted"] != row["label"]]
    expected = sorted((abs(row["label"] - row["probability"]) for row in wrong), reverse=True)[:6]
    assert sorted((how for how, *_ in report.mistakes), reverse=True) == pytest.approx(expected)
    assert len(wrong) > 6
    evaluate([item(0, 0, 0.2), item(1, 1, 0.8)], tmp_path)
    assert not (tmp_path / "mistakes.png").exists()


def test_cross_entropy_of_probabilities(generator):
    logits, labels = torch.randn(6, 2, generator=generator), torch.tensor([0, 1, 1, 0, 1, 0])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(probability_cross_entropy(logits.softmax(dim=1), labels), expected)


def test_probabilities_and_labels_of_a_decollated_output():
    output = [{"pred": torch.tensor([0.25, 0.75]), "label": 1}, {"pred": torch.tensor([0.5, 0.5]), "label": 0}]
    probabilities, labels = probabilities_and_labels(output)
    assert probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert labels.tolist() == [1, 0]
    assert [value.tolist() for value in scores_and_labels(output)] == [[0.75, 0.5], [1, 0]]


def test_a_rate_of_nothing_is_none():
    assert rate(1, 4) == 0.25
    assert rate(0, 0) is None


def test_a_summary_in_one_line():
    line = describe(summarize(rows_of([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9]), threshold=0.5))
    assert line.startswith("2 positives and 2 negatives of 4 patients, AUC 1.000 (1.000 to 1.000); at 0.5: ")
    assert line.endswith("accuracy 0.750, sensitivity 1.000, specificity 0.500")
    assert "AUC none; at 0.5: accuracy 1.000, sensitivity 1.000, specificity none" in describe(
        summarize(rows_of([1], [0.9]), threshold=0.5)
    )
