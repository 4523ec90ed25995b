# SPDX-License-Identifier: Apache-2.0
"""The report: self-contained, truthful about the outcome, calm about what is missing, safe with others' text."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from universal_model_components.figures.panels import draw_panel
from universal_model_components.figures.report import write_report
from universal_model_components.figures.sections import better

VOID = {"meta", "link", "img", "br", "path", "use", "rect", "stop"}


class Outline(HTMLParser):
    """Checks that elements nest, and collects text, resources and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.resources: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.resources += [values[k] for k in ("src", "href", "xlink:href") if values.get(k)]
        self.ids += [values["id"]] if values.get("id") else []
        if tag == "img":
            self.alts.append(values.get("alt") or "")

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def read(file: Path) -> tuple[str, Outline]:
    content, outline = file.read_text(encoding="utf-8"), Outline()
    outline.feed(content)
    assert outline.open == []
    return re.sub(r"\s+", " ", " ".join(outline.words)), outline


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as training and evaluation leave it."""
    folder = tmp_path / "output"
    cube = torch.rand(1, 1, 16, 16, 8)
    draw_panel(cube, 1 - cube, cube, folder / "panels" / "inner.png")
    with (folder / "losses.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        names = ["epoch", "step", "seconds", "loss", "loss_restoration", "loss_modality", "loss_scale"]
        writer.writerow([*names, "val_restoration", "probe_auc", "probe_auc_untrained"])
        writer.writerows(
            [
                [1, 10, 2.5, 3.0, 0.09, 0.7, 1.1, "", 0.614, 0.533],
                [2, 20, 5.0, 2.0, 0.05, 0.69, 0.9, 0.0612, 0.777, 0.533],
            ]
        )
    good = {"restored_mse": 0.02, "corrupted_mse": 0.08, "training_mean_mse": 0.05, "constant_mse": 0.01, "psnr": 17.0}
    bad = {"restored_mse": 0.06, "corrupted_mse": 0.08, "training_mean_mse": 0.05, "constant_mse": 0.01, "psnr": 12.2}
    probe = {
        "chance": 0.5,
        "levels": {"1": {"clean": 0.75, "corrupted": 0.5}, "4": {"clean": 0.875, "corrupted": None}},
    }
    evaluation = {
        "split": "validation",
        "cubes": 24,
        "cases": ["ct/<script>alert(1)</script>.nii.gz"],
        "restoration": {"overall": good, "inner": good, "outer": bad},
        "probes": {"modality": probe, "scale": {"skipped": "no <large> cubes"}},
        "versions": {"torch": "2.x"},
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


def test_everything_is_told(run: Path, tmp_path: Path) -> None:
    steps = [("prepare", "prepare.json", 61.2), ("train", "train.json", 3725.0)]
    words, outline = read(write_report(run, tmp_path / "report.html", "A demo", steps, note="Drawn from seed 0."))
    for expected in (
        "A demo",
        "Yes.",
        "75 % of the corruption's error is gone",
        "1 of 2 kinds",
        "Not for: outer painting",
        "✗ loses to the training mean",
        "Drawn from seed 0.",
        "The oracle constant has 0.0100",
        "0.777 at the end (0.614 after epoch 1), from an untrained encoder's 0.533",
        "0.0612",
        "1 min 01 s",
        "1 h 02 min",
        "88 %",
        "chance level is 50 %",
        "Not run: no <large> cubes.",
        "torch",
        "Missing: all together, non-linear intensity, local shuffling, outer painting",
    ):
        assert expected in words, expected
    assert all(outline.alts)
    assert len(outline.ids) == len(set(outline.ids))


def test_page_is_self_contained(run: Path, tmp_path: Path) -> None:
    file = write_report(run, tmp_path / "report.html")
    _, outline = read(file)
    content = file.read_text(encoding="utf-8")
    assert outline.resources
    assert all(r.startswith(("data:", "#")) for r in outline.resources)
    assert "<script" not in content
    assert "@import" not in content
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", content))
    assert [p.name for p in tmp_path.glob("*.html")] == ["report.html"]


def test_text_of_others_is_escaped(run: Path, tmp_path: Path) -> None:
    file = write_report(
        run, tmp_path / "r.html", "<b>Title</b> & $style", [("<i>", 'a "b" <c>', 1.0)], {"<u>": "1"}, note="<img src=x>"
    )
    content = file.read_text(encoding="utf-8")
    for forbidden in ("<b>", "<i>", "<u>", "<img src=x>", "<script>alert"):
        assert forbidden not in content
    words, _ = read(file)
    assert "<b>Title</b> & $style" in words
    assert "ct/<script>alert(1)</script>.nii.gz" in words


def test_missing_parts_are_said_to_be_missing(tmp_path: Path) -> None:
    words, _ = read(write_report(tmp_path / "nowhere", tmp_path / "deep" / "report.html"))
    for expected in ("not evaluated", "No restoration panels", "No training record", "No linear probes", "No timings"):
        assert expected in words


def test_several_folders(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "evaluation"
    other.mkdir()
    (run / "evaluation.json").rename(other / "evaluation.json")
    words, _ = read(write_report([run, other], tmp_path / "report.html"))
    assert "Yes." in words
    assert "No training record" not in words


def test_failure_is_called_failure(run: Path, tmp_path: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["restoration"]["overall"]["restored_mse"] = 0.07
    evaluation["restoration"]["inner"] = {"restored_mse": None}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    words, _ = read(write_report(run, tmp_path / "report.html"))
    assert "Not yet." in words
    assert "Yes." not in words
    assert "not measured" in words


@pytest.mark.parametrize(
    ("restored", "corrupted", "training_mean", "expected"),
    [
        (0.1, 0.2, 0.3, True),
        (0.2, 0.1, 0.3, False),
        (0.2, 0.3, 0.1, False),
        (0.2, 0.2, 0.3, False),
        (0.1, 0.2, None, None),
    ],
)
def test_better(restored: float, corrupted: float, training_mean: float | None, expected: bool | None) -> None:
    numbers = {"restored_mse": restored, "corrupted_mse": corrupted, "training_mean_mse": training_mean}
    assert better({**numbers, "constant_mse": 0.0}) is expected  # the oracle decides nothing


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("evaluation.json", "{", r"evaluation\.json: not JSON"),
        ("evaluation.json", "[1]", r"evaluation\.json: holds a list"),
        ("losses.csv", "epoch,loss\n1,abc\n", r"losses\.csv: could not convert"),
    ],
)
def test_unreadable_files_are_named_and_the_old_page_stays(
    run: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    page = write_report(run, tmp_path / "report.html")
    before = page.read_text(encoding="utf-8")
    (run / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        write_report(run, page)
    assert page.read_text(encoding="utf-8") == before
