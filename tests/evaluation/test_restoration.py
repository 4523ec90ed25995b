# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from devices import DEVICE
from monai.bundle import ConfigParser, ConfigWorkflow

from universal_model_components.cubes.store import CubeDataset, cube_records, read_index
from universal_model_components.evaluation.restoration import RestorationEvaluation, cube_cases
from universal_model_components.evaluation.restoration_metrics import (
    MEASURES,
    by,
    mean_intensities,
    measure_cubes,
    measure_restoration,
    restore,
    summarize,
)
from universal_model_components.method.genesis import GenesisCorruption
from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.provenance import complete, write_weights

FEATURES = [4, 8, 16, 32]
KINDS = ["nonlinear", "shuffle", "inner", "outer", "overall"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(UniversalModel(features=FEATURES).state_dict(), file)
    return file


@pytest.fixture
def evaluation(cube_store, weights, tmp_path):
    """A function that makes the evaluation of the random network on the store."""

    def make(**settings) -> RestorationEvaluation:
        data = [
            CubeDataset(cube_records(str(cube_store), split, ["ct", "mri"])) for split in ("validation", "training")
        ]
        corruptions = {"shuffle": GenesisCorruption(0, 1, 0, 0), "overall": GenesisCorruption()}
        chosen = {"network": UniversalModel(features=FEATURES), "weights": str(weights), "dataset": data[0]}
        chosen |= {"training_dataset": data[1], "corruptions": corruptions, "modalities": ["ct", "mri"]}
        chosen |= {"device": DEVICE}
        return RestorationEvaluation(**{**chosen, "output_dir": str(tmp_path / "out"), **settings})

    return make


def test_measure_cubes_by_hand(generator):
    target = torch.rand(3, 1, 4, 4, 2, generator=generator)
    corrupted, restored = target + 0.3, target.clone()
    restored[1] += 0.1
    measures = measure_cubes(restored, corrupted, target, torch.tensor([0.0, 0.5, 1.0]))
    by_hand = [((cube - mean) ** 2).mean().item() for cube, mean in zip(target, (0.0, 0.5, 1.0), strict=True)]
    assert measures["training_mean_mse"] == pytest.approx(by_hand, abs=1e-6)
    assert "training_mean_mse" not in measure_cubes(restored, corrupted, target)
    assert measures["restored_mse"] == pytest.approx([0, 0.01, 0], abs=1e-7)
    assert measures["corrupted_mse"] == pytest.approx([0.09] * 3, abs=1e-6)
    assert measures["constant_mse"] == pytest.approx(target.flatten(1).var(dim=1, unbiased=False).tolist(), abs=1e-6)
    assert measures["mean_matched_mse"] == pytest.approx([0, 0, 0], abs=1e-7)
    assert measures["psnr"] == pytest.approx([100, 20, 100], abs=1e-3)


def test_mean_matched_error_is_the_spread_of_the_error(generator):
    target, restored = torch.rand(2, 3, 1, 4, 4, 2, generator=generator)
    measures = measure_cubes(restored, target, target)
    spread = (restored - target).flatten(1).var(dim=1, unbiased=False).tolist()
    assert measures["mean_matched_mse"] == pytest.approx(spread, abs=1e-6)


def test_no_constant_is_better_than_the_mean(generator):
    target = torch.rand(1, 1, 8, 8, 8, generator=generator)
    best = measure_cubes(target, target, target)["constant_mse"][0]
    for shift in (-0.01, 0.01):
        assert (target - target.mean() + shift).square().mean() > best


def test_restore_is_the_networks_forward(generator):
    network = UniversalModel(features=FEATURES).eval()
    cubes = torch.rand(2, 1, 16, 16, 16, generator=generator)
    torch.testing.assert_close(restore(network, cubes), network(cubes))


def test_restoration_does_not_depend_on_batches(generator):
    network = UniversalModel(features=FEATURES).eval()
    cubes = torch.rand(5, 1, 16, 16, 16, generator=generator)

    def rows(size):
        parts = torch.arange(5).split(size)
        batches = [
            {"image": cubes[p], "seed": p, "modality": p % 2, "scale": p % 3, "case": [f"c{i % 2}" for i in p.tolist()]}
            for p in parts
        ]
        kinds = {"a": GenesisCorruption(), "b": GenesisCorruption(paint=0)}
        return measure_restoration(network, batches, kinds, training_means=torch.tensor([0.2, 0.4]))

    one, many = (sorted(rows(size), key=lambda row: (row["kind"], row["psnr"])) for size in (1, 3))
    assert len(one) == 10
    assert list(by(one, "kind")) == [("a",), ("b",)]
    for left, right in zip(one, many, strict=True):
        assert left["case"] == right["case"]
        assert [left[name] for name in MEASURES] == pytest.approx([right[name] for name in MEASURES], abs=1e-5)


def test_summarize():
    rows = [
        dict(zip(MEASURES, (0.02, 0.08, 0.2, 0.1, 0.01, 10), strict=True)),
        dict(zip(MEASURES, (0.04, 0.04, 0.4, 0.3, 0.03, 20), strict=True)),
    ]
    assert summarize(rows) == pytest.approx(
        {
            "cubes": 2,
            "restored_mse": 0.03,
            "corrupted_mse": 0.06,
            "training_mean_mse": 0.3,
            "constant_mse": 0.2,
            "mean_matched_mse": 0.02,
            "psnr": 15,
            "ratio": 0.5,
        }
    )
    assert summarize([dict.fromkeys(MEASURES, 0.0)])["ratio"] is None
    hard = dict(zip(MEASURES, (0.03, 0.5, 0.06, 0.001, 0.03, 20), strict=True))
    assert summarize([hard])["ratio"] == pytest.approx(0.5)  # the oracle's constant is no baseline


def test_mean_intensities_are_by_modality(generator):
    cubes = torch.rand(6, 1, 4, 4, 4, generator=generator)
    labels = torch.tensor([0, 1, 1, 0, 1, 1])
    batches = [{"image": cubes[p], "modality": labels[p]} for p in torch.arange(6).split(4)]
    expected = [cubes[labels == label].mean().item() for label in (0, 1)]
    assert mean_intensities(batches, 2).tolist() == pytest.approx(expected, rel=1e-6)
    assert mean_intensities(batches, 3) is None
    assert mean_intensities([], 2) is None


def test_report_is_complete_and_repeatable(evaluation, tmp_path):
    report = evaluation(probe_cubes=20).run()
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == report
    assert report["split"] == "validation"
    assert report["cubes"] == 16
    assert len(report["cases"]) == 2
    assert set(report["restoration"]) == {"shuffle", "overall"}
    for name, classes in (("modality", ["ct", "mri"]), ("scale", ["large", "medium", "small"])):
        probe = report["probes"][name]
        assert probe["classes"] == classes
        assert probe["chance"] == pytest.approx(1 / len(classes))
        assert (probe["train_cubes"], probe["test_cubes"]) == (20, 16)
        assert set(probe["levels"]) == {"1", "2", "3", "4"}
        assert all(0 <= level[given] <= 1 for level in probe["levels"].values() for given in ("clean", "corrupted"))
    again = evaluation(probe_cubes=20, batch_size=3).run()
    for kind, row in report["restoration"].items():
        assert [again["restoration"][kind][name] for name in MEASURES] == pytest.approx(
            [row[name] for name in MEASURES]
        )


def test_table_has_a_row_for_each_case_and_kind(evaluation, tmp_path):
    report = evaluation(probe_cubes=0).run()
    rows = list(csv.DictReader((tmp_path / "out/evaluation.csv").open()))
    assert sorted((row["case"], row["kind"]) for row in rows) == sorted(
        (case, kind) for case in report["cases"] for kind in ("shuffle", "overall")
    )
    assert all(row["modality"] == row["case"].split("/")[0] and row["cubes"] == "8" for row in rows)
    mean = np.mean([float(row["psnr"]) for row in rows if row["kind"] == "overall"])
    assert report["restoration"]["overall"]["psnr"] == pytest.approx(mean)  # every case has as many cubes


def test_probes_that_cannot_be_run_say_why(evaluation, cube_store):
    report = evaluation(training_dataset=CubeDataset([])).run()
    assert report["probes"]["scale"]["skipped"].startswith("the training cases have no cubes")
    assert "levels" not in report["probes"]["scale"]
    one = [CubeDataset(cube_records(str(cube_store), split, ["mri"])) for split in ("validation", "training")]
    report = evaluation(dataset=one[0], training_dataset=one[1], modalities=["mri"]).run()
    assert report["probes"]["modality"]["skipped"].startswith("the training cases have only 'mri' cubes")
    assert "levels" in report["probes"]["scale"]
    report = evaluation(dataset=one[1], training_dataset=one[1], modalities=["mri"]).run()
    assert report["probes"]["scale"]["skipped"] == "it would be tested on the cases that it is trained on"
    assert "levels" not in report["probes"]["scale"]


def broken_network():
    broken = UniversalModel(features=FEATURES).eval()
    torch.nn.init.constant_(broken.decoder.head.bias, float("nan"))
    return broken


def test_an_output_that_is_not_finite_is_named(generator):
    batch = {"image": torch.rand(1, 1, 16, 16, 16, generator=generator), "seed": torch.zeros(1, dtype=torch.int64)}
    batch |= {"modality": torch.zeros(1), "scale": torch.zeros(1), "case": ["ct/a"]}
    with pytest.raises(FloatingPointError, match=r"shuffle: restored cubes of \['ct/a'\] are not finite"):
        measure_restoration(broken_network(), [batch], {"shuffle": GenesisCorruption(0, 1, 0, 0)})


def test_failures_are_named_and_leave_the_old_report(evaluation, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "evaluation.json").write_text("old")
    with pytest.raises(FileNotFoundError, match=r"^pretrained_weights: no file nowhere\.pt"):
        evaluation(weights="nowhere.pt").run()
    torch.save(broken_network().state_dict(), tmp_path / "nan.pt")
    with pytest.raises(ValueError, match=r"^pretrained_weights: decoder\.head\.bias in .* not finite"):
        evaluation(weights=str(tmp_path / "nan.pt")).run()
    assert [path.name for path in out.iterdir()] == ["evaluation.json"]
    assert (out / "evaluation.json").read_text() == "old"


def test_records_names_what_is_missing(cube_store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^cube_store: no store\.json"):
        cube_records(str(tmp_path), "validation", ["ct"])
    with pytest.raises(ValueError, match=r"^cube_store: no 'test' case"):
        cube_records(str(cube_store), "test", ["ct"])
    assert cube_records(str(cube_store), "test", ["ct"], optional=True) == []
    cubes = CubeDataset(cube_records(str(cube_store), "training", ["ct"]))
    assert cube_cases(cubes) == [cubes[index]["case"] for index in range(len(cubes))]


def bundle_files(bundles: Path) -> list[str]:
    return [str(bundles / "universal_model_pretraining/configs" / name) for name in ("train.json", "evaluate.json")]


def test_bundle_has_the_properties_of_a_training_workflow(bundles, cube_store, tmp_path):
    settings = {"bundle_root": str(tmp_path), "cube_store": str(cube_store), "features": FEATURES}
    workflow = ConfigWorkflow(bundle_files(bundles), workflow_type="train", logging_file=False, **settings)
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_masking_is_measured_alone_where_training_masks(share, bundles, cube_store, weights):
    parser = ConfigParser()
    parser.read_config(bundle_files(bundles))
    parser.update({"cube_store": str(cube_store), "pretrained_weights": str(weights), "corruption::mask": share})
    kinds = parser.get_parsed_content("kinds")
    assert set(kinds) == {*KINDS, *(["mask"] if share else [])}
    if share:
        cubes = torch.ones(2, 1, 16, 16, 16)
        corrupted, _ = kinds["mask"](cubes, seeds=torch.arange(2))
        assert set(corrupted.unique().tolist()) == {0.0, 1.0}
        assert float(corrupted.mean()) == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(("spacing", "warned"), [(None, False), ([2.0, 1.0, 1.0], True)])
def test_weights_of_another_recipe_warn(spacing, warned, bundles, cube_store, tmp_path, caplog):
    recipe, state = read_index(cube_store)["recipe"], UniversalModel(features=FEATURES).state_dict()
    passed = {key: recipe[key] for key in ("spacing", "intensity_range", "intensity_scale")}
    passed |= {} if spacing is None else {"spacing": spacing}
    write_weights(tmp_path / "models/model.pt", state, complete(passed, state))
    settings = {"bundle_root": str(tmp_path), "cube_store": str(cube_store), "features": FEATURES, "device": DEVICE}
    settings |= {"num_workers": 0, "probe_cubes": 0, "panel_cubes": 0}
    workflow = ConfigWorkflow(bundle_files(bundles), workflow_type="train", logging_file=False, **settings)
    workflow.initialize()
    workflow.run()
    lines = [record.getMessage() for record in caplog.records if "was trained with" in record.getMessage()]
    assert len(lines) == warned
    assert all(f"spacing {spacing}, this run has {recipe['spacing']}" in line for line in lines)
    assert list(tmp_path.rglob("evaluation.json"))
    assert not list(tmp_path.rglob("*.png"))  # no panel of 0 cubes


def test_command_line_from_another_folder(bundles, cube_store, weights, tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle_files(bundles))]
    settings = {"bundle_root": str(bundles / "universal_model_pretraining"), "cube_store": str(cube_store)}
    settings |= {"output_dir": "out", "pretrained_weights": str(weights), "features": str(FEATURES).replace(" ", "")}
    settings |= {"probe_cubes": "20", "panel_cubes": "2", "num_workers": "0", "device": "cpu"}
    options = [word for key, value in settings.items() for word in (f"--{key}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert list(report["restoration"]) == KINDS
    assert all("levels" in probe for probe in report["probes"].values())
    assert "balanced accuracy by level" in run.stdout
    assert sorted(path.stem for path in (tmp_path / "out/panels").iterdir()) == sorted(KINDS)
