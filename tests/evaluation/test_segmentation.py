# SPDX-License-Identifier: Apache-2.0
"""A MONAI evaluator scores cases in native image space, writes its files, and names what cannot be scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import matplotlib.image
import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanIoUHandler, from_engine
from monai.transforms import AsDiscreted, Compose, EnsureChannelFirstd, LoadImaged
from torch import nn
from user_errors import raises_user_error

from universal_model_components.evaluation.segmentation import (
    OriginalLabeld,
    SegmentationReport,
    table_of,
)
from universal_model_components.figures.overlays import ValidationOverlays
from universal_model_components.imaging.transforms import NormalizeScand, ToOriginalSpaced

# left-handed, permuted, anisotropic and a little oblique
OBLIQUE = nibabel.eulerangles.euler2mat(0.1, 0.05, 0.02) @ np.array([[0, -1.2, 0], [1.0, 0, 0], [0, 0, 2.0]])
AFFINE = nibabel.affines.from_matvec(OBLIQUE, [5, -7, 3])


def write_case(folder: Path, name: str, side: int, value: int = 420) -> dict:
    """A bright box of `side` voxels, labeled; the label is 3 voxels wider than bright along one axis for 'wide'."""
    voxels = np.full((24, 20, 16), 10, np.int16)
    label = np.zeros(voxels.shape, np.int16)
    voxels[6 : 6 + side, 6 : 6 + side, 5:11] = 1000
    label[6 : 6 + side + (3 if name == "wide" else 0), 6 : 6 + side, 5:11] = value
    if name == "healthy":
        label[:] = 0
    files = {key: folder / f"{name}_{key}.nii.gz" for key in ("image", "label")}
    for key, array in (("image", voxels), ("label", label)):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), files[key])
    return {"image": str(files["image"]), "label": str(files["label"]), "case": name, "group": name[:1]}


class Bright(nn.Module):
    """Logits that separate bright from dark."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 20 * (image - 0.5)


def evaluator(cases: list[dict], output: Path, values=None, **settings) -> SupervisedEvaluator:
    load = [LoadImaged(["image", "label"]), EnsureChannelFirstd(["image", "label"])]
    before = Compose([*load, NormalizeScand("image", label_keys="label", label_values=values)])
    after = [ToOriginalSpaced("pred"), AsDiscreted("pred", threshold=0.5), OriginalLabeld("label", values)]
    report = SegmentationReport(str(output), weights="none", **settings)
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases, before), batch_size=1),
        network=nn.Sequential(Bright(), nn.Sigmoid()),
        postprocessing=Compose(after),
        key_val_metric={"val_iou": MeanIoUHandler(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[report],
    )


LABELS = {"foreground": [420], "background": [0, 500], "stray": [421]}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> tuple[Path, SupervisedEvaluator]:
    folder = tmp_path_factory.mktemp("evaluation")
    cases = [write_case(folder, name, side) for name, side in (("same", 8), ("wide", 8), ("healthy", 6), ("small", 4))]
    engine = evaluator(cases, folder / "eval", LABELS)
    engine.run()
    return folder / "eval", engine


def test_rows_are_measured_on_the_scans_own_grid(evaluated):
    output, engine = evaluated
    with (output / "evaluation.csv").open() as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["same", "wide", "healthy", "small"]
    assert [row["group"] for row in rows.values()] == ["s", "w", "h", "s"]
    assert int(rows["same"]["reference_voxels"]) == 8 * 8 * 6
    assert float(rows["same"]["reference_ml"]) == pytest.approx(8 * 8 * 6 * abs(np.linalg.det(AFFINE[:3, :3])) / 1000)
    assert float(rows["same"]["iou"]) > 0.95
    assert float(rows["wide"]["iou"]) == pytest.approx(8 / 11, abs=0.05)
    assert float(rows["wide"]["hd95_mm"]) == pytest.approx(3 * np.linalg.norm(AFFINE[:3, 0]), abs=0.2)
    assert rows["healthy"]["iou"] == rows["healthy"]["hd95_mm"] == ""
    assert rows["healthy"]["reason"].startswith("empty reference mask, ")
    scored = [float(row["iou"]) for row in rows.values() if row["iou"]]
    assert engine.state.metrics["iou"] == pytest.approx(np.mean(scored))
    assert engine.state.metrics["val_iou"] == pytest.approx(np.mean(scored), abs=1e-6)  # MONAI's handler agrees


def test_summary_and_pictures(evaluated):
    output, _ = evaluated
    summary = json.loads((output / "evaluation.json").read_text())
    assert summary["cases"] == 4
    assert summary["iou"]["cases"] == 3
    assert summary["iou"]["sd"] > 0
    assert [entry["case"] for entry in summary["not_scored"]] == ["healthy"]
    assert summary["pictures"]["worst"] == "wide"
    assert sorted(file.name for file in (output / "overlays").iterdir()) == ["best.png", "median.png", "worst.png"]
    pixels = matplotlib.image.imread(output / "overlays/worst.png")[..., :3]
    for color in ((0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)):  # both contours are there
        assert int((np.abs(pixels - np.array(color) / 255).max(-1) < 0.1).sum()) > 50
    assert "not scored: healthy" in table_of(summary)


def test_one_case_has_one_picture(evaluated, tmp_path):
    old = tmp_path / "overlays" / "worst.png"
    old.parent.mkdir()
    old.write_bytes(b"of an earlier evaluation")
    evaluator([write_case(tmp_path, "same", 8)], tmp_path, LABELS).run()
    assert [file.name for file in old.parent.iterdir()] == ["best.png"]
    assert json.loads((tmp_path / "evaluation.json").read_text())["iou"]["sd"] is None


def test_failures_are_one_line(tmp_path):
    odd = write_case(tmp_path, "odd", 8, value=7)
    with raises_user_error(r"^/.*odd_label.nii.gz: label value 7 in 384 voxels, expected \[0, 42"):
        evaluator([odd], tmp_path / "eval", LABELS).run()
    engine = evaluator([write_case(tmp_path, "same", 8)], tmp_path / "eval", LABELS)
    with pytest.raises(ValueError, match=r"^no case in 'test'"):
        SegmentationReport(str(tmp_path), split="test")._finish(engine)
    assert not (tmp_path / "eval").exists()


def test_masks_on_different_grids_are_refused(tmp_path):
    engine = evaluator([write_case(tmp_path, "same", 8)], tmp_path / "eval", LABELS)
    plain = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=engine.data_loader,
        network=Bright(),
        val_handlers=[SegmentationReport(str(tmp_path / "eval"))],
        postprocessing=OriginalLabeld("label", LABELS),
    )
    with pytest.raises(
        ValueError,
        match=r"^same: prediction: shape \(.*\), expected \(24, 20, 16\) of .*label.nii.gz: see validate::",
    ):
        plain.run()


def test_validation_overlays_are_drawn_when_due(tmp_path):
    engine = evaluator([write_case(tmp_path, "same", 8), write_case(tmp_path, "wide", 8)], tmp_path / "eval", LABELS)
    ValidationOverlays(str(tmp_path), interval=2, cases=1).attach(engine)
    for epoch in (1, 2):
        engine.run(epoch)
    assert [file.name for file in (tmp_path / "panels").iterdir()] == ["epoch_0002.png"]
