# SPDX-License-Identifier: Apache-2.0
"""Model cards: the committed ones are current, and a card says what provenance and evaluation say."""

from __future__ import annotations

import csv
import json
import shutil

import model_card
import pytest
from card_measures import mean_and_interval, read_measures, take_evaluation
from huggingface_hub import ModelCard
from model_card import CARD, header, render_card, write_cards
from scipy import stats
from task_bundles import BUNDLES, FEATURES, PRETRAINING

from universal_model_components.method.genesis import GenesisCorruption
from universal_model_components.method.models import SegmentationModel, UniversalModel
from universal_model_components.weights.provenance import (
    complete,
    pretraining_provenance,
    task_provenance,
    write_weights,
)

BTS = "brats_mri_whole_tumor_segmentation"
RECIPE = {
    "spacing": [1, 1, 1],
    "patch_size": [64, 64, 32],
    "intensity_range": {"ct": [-1000, 1000]},
    "intensity_scale": {"ct": "range"},
}
INDEX = {
    "recipe": RECIPE,
    "sets": {"luna": {"license": "CC BY 4.0"}},
    "splits": {"training": [{"set": "luna", "modality": "ct"}] * 3, "validation": [{"set": "luna", "modality": "ct"}]},
}
ANCESTOR = {"file": "old.pt", "sha256": "ab" * 32, "data": {"older": {"license": "CC0 1.0", "cases": {}}}}


@pytest.fixture
def models(tmp_path):
    """Weights with the provenance of a pre-training that continued another."""
    settings = {"features": FEATURES, "modalities": ["ct"], "seed": 7, "beta": 10.0}
    described = pretraining_provenance(INDEX, GenesisCorruption(), settings, ancestor=ANCESTOR)
    state = UniversalModel(features=FEATURES).state_dict()
    provenance = complete(described, state, epoch=3, metrics={"val_restoration": 0.0234})
    write_weights(tmp_path / "models" / "model.pt", state, provenance)
    return tmp_path / "models"


def write_evaluation(folder, rows, **summary):
    folder.mkdir(exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps({"split": "test", "weights": "/a/model.pt", **summary}))
    with (folder / "evaluation.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_the_committed_cards_are_current():
    write_cards(check=True)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_card_without_weights_says_what_is_missing(name, bundles, tmp_path):
    text = render_card(bundles / name, tmp_path, tmp_path)
    assert "Missing: `models/model.pt` with its provenance" in text
    assert "No evaluation is recorded" in text
    data = ModelCard(text).data
    assert (data.library_name, data.license) == ("monai", "apache-2.0")
    assert {"monai", "medical"} <= set(data.tags)
    assert "not for clinical use. Not for:" in text


def test_a_card_states_data_recipe_ancestor_and_metrics(models, bundles, tmp_path):
    rows = [
        {"case": case, "kind": kind, "restored_mse": error, "corrupted_mse": 0.5, "psnr": 20}
        for kind in ("inner", "overall")
        for case, error in (("a", 0.01), ("b", 0.02), ("c", 0.03))
    ]
    evaluation = write_evaluation(tmp_path / "eval", rows, restoration={})
    text = render_card(bundles / PRETRAINING, models, evaluation)
    sha256 = json.loads((models / "model.provenance.json").read_text())["sha256"]
    assert f"`{sha256}`" in text
    for line in (
        "| luna | CC BY 4.0 | ct: 3 training, 1 validation |",
        f"It continued `old.pt` (tensors' SHA-256 `{ANCESTOR['sha256']}`), trained on:",
        "| older | CC0 1.0 |  |",
        "| beta | `10.0` |",
        "| features | `[4, 8, 16, 32]` |",
        "| restored_mse | test, corruption: inner | 0.02 | 0 to 0.04484 | 3 cases |",
        "| corrupted_mse | test, corruption: inner | 0.5 | 0.5 to 0.5 | 3 cases |",
        "| psnr | test, corruption: overall | 20 | 20 to 20 | 3 cases |",
        "| val_restoration | 0.0234 |",
    ):
        assert line in text.splitlines(), line
    data = ModelCard(text).data
    assert (data.datasets, data.metrics) == (["luna"], ["restored_mse", "psnr"])
    assert (data.license, data.to_dict()["license_link"]) == ("other", "docs/data_license.txt")


def test_the_license_and_sources_of_released_weights(models, bundles):
    sources = [{"source": "LIDC", "license": "CC BY 3.0", "attribution": "Armato", "scans": ["a.nii.gz", "b.nii.gz"]}]
    beside = models / "model.provenance.json"
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "license": "CC BY-SA 4.0", "scans": sources}))
    text = render_card(bundles / PRETRAINING, models, models)
    assert (ModelCard(text).data.license, ModelCard(text).data.datasets) == ("cc-by-sa-4.0", ["LIDC"])
    assert "| LIDC | CC BY 3.0 | 2 | Armato |" in text
    assert "License: CC BY-SA 4.0." in text


def test_a_target_tasks_weights_name_no_folder_of_a_machine(bundles, tmp_path):
    state = SegmentationModel(features=FEATURES).state_dict()
    provenance = task_provenance({"features": FEATURES, "pretrained_weights": "/home/me/model.pt"})
    write_weights(tmp_path / "model.pt", state, complete(provenance, state))
    text = render_card(bundles / BTS, tmp_path, tmp_path)
    assert '| pretrained_weights | `"model.pt"` |' in text
    assert "/home" not in text
    assert "No data set is stated in the provenance." in text


def test_measures_of_masks_and_of_classes(tmp_path):
    rows = [{"case": "a", "iou": 0.5, "dice": 0.6, "hd95_mm": ""}, {"case": "b", "iou": 0.7, "dice": 0.8, "hd95_mm": 3}]
    found = {row["measure"]: row for row in read_measures(write_evaluation(tmp_path / "masks", rows))}
    assert list(found) == ["iou", "dice", "hd95_mm"]
    assert found["iou"]["interval"] == [0.0, 1.0]  # Student's is wider than the measure
    assert (found["hd95_mm"]["value"], found["hd95_mm"]["interval"], found["hd95_mm"]["over"]) == (3.0, None, "1 cases")
    classes = {"auc": 0.8, "auc_interval": [0.7, 0.9], "samples": 9, "patients": 5}
    classes |= dict.fromkeys(("accuracy", "sensitivity", "specificity"))
    found = list(read_measures(write_evaluation(tmp_path / "classes", [{"case": "a"}], **classes)))
    assert found[0]["interval"] == [0.7, 0.9]
    assert {row["over"] for row in found} == {"9 samples of 5 patients"}
    assert mean_and_interval([0.5, 0.6, 0.7])["interval"] == pytest.approx(
        stats.t.interval(0.95, 2, 0.6, stats.sem([0.5, 0.6, 0.7]))
    )
    assert mean_and_interval([]) == {"value": None, "interval": None}


def test_a_header_lists_the_modalities(bundles):
    metadata = json.loads((bundles / BTS / "configs" / "metadata.json").read_text())
    assert "\n- mr\n" in header("segmentation", metadata, None, [])


def test_an_evaluation_is_taken_and_a_stale_card_is_named(bundles, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(model_card, "MEASURED", tmp_path / "measured")
    shutil.copytree(bundles / BTS, tmp_path / "bundles" / BTS)
    evaluation = write_evaluation(tmp_path / "eval", [{"case": "a", "iou": 0.5, "dice": 0.6, "hd95_mm": 2}])
    take_evaluation(evaluation, tmp_path / "measured" / BTS)
    assert "weights" not in json.loads((tmp_path / "measured" / BTS / "evaluation.json").read_text())
    given = {"bundles": str(tmp_path / "bundles")}
    with pytest.raises(ValueError, match=r"^stale, run scripts/model_card\.py: .*model_card\.md$"):
        write_cards(check="true", **given)
    write_cards(bundle=BTS, evaluation=str(evaluation), **given)
    assert "written: " in capsys.readouterr().out
    assert "| iou | test | 0.5 | - | 1 cases |" in (tmp_path / "bundles" / BTS / CARD).read_text()
    write_cards(check=True, **given)
    with pytest.raises(ValueError, match=r"^--evaluation .* give its --bundle"):
        write_cards(evaluation=str(evaluation), **given)
