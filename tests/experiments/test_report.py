# SPDX-License-Identifier: Apache-2.0
"""The report of synthetic records: what was not run is said to be so, and the same records give the same bytes."""

from __future__ import annotations

import base64
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from universal_model_components.experiments.report import write_report

SEEDS = (0, 1, 2, 3, 4)
SYSTEMS = {
    "scratch": {"title": "from scratch"},
    "genesis": {"title": "Genesis | both"},
    "universal": {"title": "Universal Model"},
    "unfinished": {},
}
TASKS = {"hippocampus": {"title": "hippocampus"}, "sarcoma_ct": {"title": "sarcoma <CT>"}, "adc": {"title": "ADC"}}
GAINS = {"scratch": 0.0, "genesis": 0.0, "universal": 0.15}
PLACES = [(3, 0.1, 0.0), (30, 1.0, 0.0), (30, 1.0, 2.0)]  # labels, their fraction, label noise


def write_json(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def planned_runs() -> list[dict]:
    return [
        {
            "run": f"{task}_{system}_{labels}_{noise}_{seed}",
            "task": task,
            "system": system,
            "seed": seed,
            "labels": labels,
            "label_fraction": fraction,
            "label_noise": noise,
            "pretraining": None if system == "scratch" else f"pre_{system}",
        }
        for task in TASKS
        for labels, fraction, noise in PLACES
        for system in SYSTEMS
        for seed in SEEDS
    ]


def make_record(run: dict, random: np.random.Generator) -> dict:
    """A finished run: harder with fewer labels and with noise, better by the system's gain."""
    level = 0.4 + 0.2 * run["label_fraction"] - 0.03 * run["label_noise"] + GAINS[run["system"]]
    level += 0.02 * random.normal()
    metric = "auc" if run["task"] == "adc" else "iou"
    cases: dict = {}
    for index in range(10):
        if metric == "auc":
            probability = np.clip(0.5 + (index % 2 - 0.5) * 0.6 * level + 0.2 * random.normal(), 0, 1)
            cases[f"case_{index}"] = {"probability": float(probability), "label": index % 2}
        else:
            iou = None if index == 9 else level + 0.02 * index + 0.01 * random.normal()
            cases[f"case_{index}"] = {"iou": iou, "dice": 0.5}
    if metric == "auc":
        score = roc_auc_score([c["label"] for c in cases.values()], [c["probability"] for c in cases.values()])
    else:
        score = np.mean([case["iou"] for case in cases.values() if case["iou"] is not None])
    split = "validation" if run["task"] == "sarcoma_ct" else "test"
    curve = [
        {"epoch": epoch, "step": 50 * epoch, "loss": 1 / epoch, f"val_{metric}": level * (1 - 0.8**epoch)}
        for epoch in range(1, 9)
    ]
    return {
        **run,
        "experiment": "open",
        "metric": metric,
        "higher_is_better": True,
        "cases": {split: cases},
        "summary": {split: {metric: float(score)}},
        "curve": curve,
        "settings": {},
        "versions": {"torch": "2.x"},
        "seconds": 60 + run["seed"],
        "peak_memory_mib": 900.0,
        "device": "cpu",
    }


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Three tasks; a system is not run at all, two of its rival's five seeds are missing in one cell."""
    runs = planned_runs()
    switches = {"genesis": False, "universal": True, "unfinished": False}
    grid = {
        "name": "open",
        "title": "Open <experiment>",
        "tasks": TASKS,
        "systems": SYSTEMS,
        "seeds": SEEDS,
        "labels": [3, "all"],
        "label_noise": [0, 2],
        "baseline": "scratch",
        "runs": runs,
        "pretrainings": [{"run": f"pre_{system}", "system": system} for system in switches],
        "paper": "table_3",
    }
    write_json(tmp_path / "experiment.json", grid)
    random = np.random.default_rng(5)
    for run in runs:
        lost = run["task"] == "hippocampus" and run["system"] == "genesis" and run["labels"] == 3 and run["seed"] > 2
        if run["system"] in GAINS and not lost:
            write_json(tmp_path / "runs" / run["run"] / "record.json", make_record(run, random))
    for system, on in switches.items():
        if system != "unfinished":
            probes = {"val_scale_accuracy": 0.7 if on else None, "modality_probe": 0.6 if on else 0.8}
            content = {"run": f"pre_{system}", "system": system, "settings": {"mial": on, "scale_classifier": True}}
            content |= {"probes": probes, "seconds": 1200.0, "peak_memory_mib": 1500.0, "device": "cpu"}
            write_json(tmp_path / "pretraining" / f"pre_{system}" / "record.json", content)
    return tmp_path


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_comparisons_find_the_better_system_and_say_where_one_does_not_help(experiment: Path):
    folder = write_report(experiment, repeats=400).parent
    rows = read_csv(folder / "comparisons.csv")
    single = [row for row in rows if row["task"] != "all tasks"]
    assert len(single) == 3 * 3 * 2  # tasks, settings, systems that ran
    segmentation = [row for row in single if row["task"] != "adc"]
    assert {row["verdict"] for row in segmentation if row["system"] == "universal"} == {"helps"}
    assert {row["verdict"] for row in segmentation if row["system"] == "genesis"} <= {"does not help here", "hurts"}
    assert {row["split"] for row in single if row["task"] == "sarcoma_ct"} == {"validation"}
    assert {row["split"] for row in single if row["task"] == "adc"} == {"test"}
    for row in rows:
        assert float(row["low"]) <= float(row["gain"]) <= float(row["high"])
        assert float(row["p_seeds"]) <= float(row["holm_seeds"])
    (lost,) = (
        r for r in single if r["labels"] == "3 cases" and r["task"] == "hippocampus" and r["system"] == "genesis"
    )
    assert lost["seeds"] == "3"
    assert {row["p_cases"] for row in single if row["task"] == "adc"} == {""}
    pooled = [row for row in rows if row["task"] == "all tasks" and row["system"] == "universal"]
    assert len(pooled) == 3
    assert all(float(row["holm_seeds"]) < 0.01 for row in pooled)


def test_results_have_a_row_for_each_run(experiment: Path):
    rows = read_csv(write_report(experiment, repeats=50).parent / "results.csv")
    assert len(rows) == len(planned_runs())
    assert {row["status"] for row in rows if row["system"] == "unfinished"} == {"not run"}
    assert {row["test"] for row in rows if row["system"] == "unfinished"} == {""}
    row = next(row for row in rows if row["run"] == "hippocampus_universal_30_0.0_0")
    record = json.loads((experiment / "runs" / row["run"] / "record.json").read_text())
    assert float(row["test"]) == pytest.approx(record["summary"]["test"]["iou"], abs=1e-6)


def test_page_and_markdown_say_what_was_not_run(experiment: Path):
    page = write_report(experiment, repeats=50)
    text, markdown = (page.parent / name for name in ("index.html", "report.md"))
    for content in (text.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")):
        for words in (
            "not run",
            "3 of 5 seeds",
            "does not help here",
            "86.44 ± 1.09",
            "as claimed",
            "validation cases",
        ):
            assert words in content
        assert content.count("86.44 ± 1.09") == 1  # all labels, clean
        assert "133 of 180 runs are finished" in content
    assert "Open &lt;experiment&gt;" in text.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=.(?!#|data:)""", text.read_text(encoding="utf-8"))
    assert r"Genesis \| both" in markdown.read_text(encoding="utf-8")


def test_pictures_of_the_markdown_are_there(experiment: Path):
    folder = write_report(experiment, repeats=50).parent
    lines = (folder / "report.md").read_text(encoding="utf-8").splitlines()
    named = {line.rpartition("(")[2].rstrip(")") for line in lines if line.startswith("![")}
    assert named == {file.name for file in folder.glob("*.svg")}
    assert {"gains_tasks.svg", "gains_pooled.svg", "ranks.svg", "labels.svg", "noise.svg"} <= named
    for name in named:
        assert (folder / name).read_text(encoding="utf-8").startswith('<svg style="background: #ffffff')


def test_pictures_of_noisy_masks_are_embedded_and_copied(experiment: Path):
    pictures = {
        "hippocampus_scratch_30_2.0_1": b"seed 1",
        "hippocampus_scratch_30_2.0_3": b"a later seed",
        "hippocampus_universal_30_2.0_0": b"another system",
        "sarcoma_ct_universal_30_2.0_0": b"the system that has one",
        "adc_unfinished_30_2.0_0": b"not finished",
        "hippocampus_scratch_30_0.0_0": b"left by an earlier training",
    }
    for run, content in pictures.items():
        file = experiment / "runs" / run / "output" / "label_noise.png"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    page = write_report(experiment, repeats=50)
    copies = {file.name: file.read_bytes() for file in page.parent.glob("*.png")}
    shown = {"label_noise_hippocampus_2.png": b"seed 1", "label_noise_sarcoma_ct_2.png": b"the system that has one"}
    assert copies == shown
    text, markdown = (file.read_text(encoding="utf-8") for file in (page, page.parent / "report.md"))
    for name, content in shown.items():
        assert f"]({name})" in markdown
        assert f"base64,{base64.b64encode(content).decode()}" in text
    assert "hippocampus: training masks eroded or dilated by up to 2 mm (seed 1)" in markdown
    assert "label noise, mm" in text  # the curve is still there


def test_the_same_records_give_the_same_bytes(experiment: Path):
    folder = write_report(experiment, repeats=100).parent
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    write_report(experiment, repeats=100)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_an_experiment_without_runs_has_a_report(experiment: Path):
    for file in [*experiment.glob("runs/*/record.json"), *experiment.glob("pretraining/*/record.json")]:
        file.unlink()
    page = write_report(experiment)
    text = page.read_text(encoding="utf-8")
    assert "0 of 180 runs are finished. No run is finished: there are no scores." in text
    assert "Comparisons: not run." in text
    assert read_csv(page.parent / "comparisons.csv") == []


def test_one_seed_is_compared_over_cases(experiment: Path):
    for file in experiment.glob("runs/*/record.json"):
        if not file.parent.name.endswith("_0"):
            file.unlink()
    folder = write_report(experiment, repeats=200).parent
    rows = read_csv(folder / "comparisons.csv")
    assert {row["seeds"] for row in rows if row["task"] != "all tasks"} == {"1"}
    assert {row["p_seeds"] for row in rows if row["task"] != "all tasks"} == {""}


def test_what_cannot_be_read_is_named(experiment: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"experiment\.json: cannot be read .*expected the resolved grid"):
        write_report(tmp_path / "nowhere")
    next(experiment.glob("runs/*/record.json")).write_text("{")
    with pytest.raises(ValueError, match=r"record\.json: cannot be read .*expected the record of a finished run"):
        write_report(experiment)
    (experiment / "experiment.json").write_text("{}")
    with pytest.raises(ValueError, match="no 'name', expected a resolved grid"):
        write_report(experiment)
