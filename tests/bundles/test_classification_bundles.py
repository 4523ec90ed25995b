# SPDX-License-Identifier: Apache-2.0
"""LNC and ADC from scans to rows of a CSV: trained for a few steps on miniatures, evaluated, resumed, and used."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
from classification_tasks import ADC, LNC, SHARED, SMALL, write_adni
from conftest import REPOSITORY
from luna import world, write_datalist, write_luna16
from task_bundles import FEATURES, rows, run, workflow
from user_errors import raises_user_error

import universal_model_components.imaging.transforms as task_transforms
from universal_model_components.imaging.normalization import load_scan
from universal_model_components.inference.inputs import list_candidates
from universal_model_components.method.models import ClassificationModel, UniversalModel
from universal_model_components.tasks.candidates import cut_cube, nearest_voxels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """For each bundle a folder with a data set in miniature and its datalist."""
    luna, adni = tmp_path_factory.mktemp("luna16"), tmp_path_factory.mktemp("adni")
    entries = write_luna16(luna)
    write_datalist(luna, entries[:2], entries[2:3], entries[3:])
    write_adni(adni)
    return {LNC: luna, ADC: adni}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """For each bundle the folder of a run of two epochs."""
    roots = {}
    for task, folder in data.items():
        roots[task] = tmp_path_factory.mktemp("trained")
        run(task, "train", bundle_root=str(roots[task]), dataset_dir=str(folder), epochs=2, **SMALL[task])
    return roots


def model(root):
    return torch.load(root / "models" / "model.pt", weights_only=True)


def checkpoint(root):
    return torch.load(root / "models" / "checkpoint.pt", weights_only=True)["network"]


def network_of(root):
    network = ClassificationModel(features=FEATURES).eval()
    network.load_state_dict(model(root), strict=True)
    return network


@pytest.mark.parametrize("task", SMALL)
def test_properties_are_complete(task, data, trained, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[task]), **SHARED[task]}
    weights = str(trained[task] / "models" / "model.pt")
    for configs in (("train",), ("train", "evaluate"), ("inference",)):
        if configs != ("train",):
            settings["pretrained_weights"] = weights
        flow = workflow(task, *configs, **settings)
        flow.initialize()
        assert flow.check_properties() == [], configs


@pytest.mark.parametrize("task", SMALL)
def test_training_leaves_a_model_and_its_record(task, trained):
    record = rows(trained[task] / "output" / "losses.csv")
    assert [row["epoch"] for row in record] == ["1", "2"]
    assert float(record[0]["lr"]) == 0.001
    assert all(0 <= float(record[-1][name]) <= 1 for name in ("train_auc", "val_auc", "val_accuracy"))
    network_of(trained[task])
    assert list((trained[task] / "output" / "tensorboard").iterdir())


def test_the_paper_settings_are_the_defaults(data, tmp_path):
    flow = workflow(LNC, "train", bundle_root=str(tmp_path), dataset_dir=str(data[LNC]))
    flow.initialize()
    get = flow.parser.get_parsed_content
    optimizer, network, sampler = get("optimizer"), get("network_def"), get("train::sampler")
    (group,) = optimizer.param_groups
    assert (type(optimizer).__name__, group["lr"], group["betas"], group["eps"]) == ("Adam", 1e-3, (0.9, 0.999), 1e-8)
    assert isinstance(get("loss"), torch.nn.CrossEntropyLoss)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert len(group["params"]) == len(list(network.parameters()))
    labels = [int(flow.train_dataset.labels[cube]) for batch in sampler for cube, _ in batch]
    assert sum(labels) * 2 == len(labels)


def test_training_learns(data, tmp_path):
    settings = {**SMALL[LNC], "epochs": 15, "val_interval": 15, "learning_rate": 0.01}
    run(LNC, "train", bundle_root=str(tmp_path), dataset_dir=str(data[LNC]), **settings)
    record = rows(tmp_path / "output" / "losses.csv")
    assert float(record[-1]["loss"]) < 0.2 < float(record[0]["loss"])
    assert float(record[-1]["val_auc"]) == 1.0  # nodules are bright, the others are not


@pytest.mark.parametrize("task", SMALL)
def test_evaluation_writes_a_row_a_sample_and_a_summary(task, data, trained, tmp_path):
    weights = str(trained[task] / "models" / "model.pt")
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[task]), "pretrained_weights": weights}
    run(task, "train", "evaluate", bootstrap=50, **settings, **SMALL[task])
    found = rows(tmp_path / "output" / "evaluation.csv")
    summary = json.loads((tmp_path / "output" / "evaluation.json").read_text())
    expected = json.loads((data[task] / "datalist.json").read_text())["test"]
    labels = (
        [c[3] for entry in expected for c in entry["candidates"]] if task == LNC else [e["label"] for e in expected]
    )
    assert [int(row["label"]) for row in found] == labels
    assert summary["samples"] == len(labels)
    assert 0 <= summary["auc"] <= 1
    assert summary["weights"] == weights
    for name in ("roc.png", "confusion.png"):
        assert (tmp_path / "output" / name).stat().st_size > 5000


def test_evaluation_reports_a_class_that_is_missing(data, trained, tmp_path, caplog):
    content = json.loads((data[ADC] / "datalist.json").read_text())
    content["test"] = content["test"][:1]
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    settings = {
        "bundle_root": str(tmp_path),
        "dataset_dir": str(data[ADC]),
        "datalist": str(tmp_path / "datalist.json"),
    }
    settings["pretrained_weights"] = str(trained[ADC] / "models" / "model.pt")
    run(ADC, "train", "evaluate", **settings, **SMALL[ADC])
    assert json.loads((tmp_path / "output" / "evaluation.json").read_text())["auc"] is None
    assert "no positive sample among 1" in caplog.text


def test_a_subject_that_cannot_be_read_is_skipped_named_or_refused(data, trained, tmp_path, capsys):
    shutil.copytree(data[ADC], tmp_path / "cases")
    file = tmp_path / "cases" / json.loads((data[ADC] / "datalist.json").read_text())["test"][0]["image"]
    file.write_bytes(file.read_bytes()[:-2000])
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(tmp_path / "cases"), **SMALL[ADC]}
    settings["pretrained_weights"] = str(trained[ADC] / "models" / "model.pt")
    run(ADC, "inference", datalist=str(tmp_path / "cases/datalist.json"), **settings)
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 2 scans classified, 1 skipped"
    assert [row["subject"] for row in rows(tmp_path / "eval/predictions.csv")] == ["subject_7"]
    run(ADC, "train", "evaluate", **settings)
    good, bad = rows(tmp_path / "output" / "evaluation.csv")
    summary = json.loads((tmp_path / "output" / "evaluation.json").read_text())
    assert (good["case"], bad["case"], bad["probability"]) == ("subject_7", "subject_6", "")
    assert summary["samples"] == 1
    assert summary["not_scored"] == [{"case": "subject_6", "reason": bad["reason"]}]
    assert str(file) in bad["reason"]
    content = json.loads((data[ADC] / "datalist.json").read_text())
    content["training"].append({**content["test"][0], "case": "another"})
    (tmp_path / "cases/datalist.json").write_text(json.dumps(content))
    settings["pretrained_weights"] = None
    with raises_user_error(rf"^1 of \d+ cases cannot be used: {file}: unreadable"):
        run(ADC, "train", **settings)


def test_inference_writes_a_submission_and_reads_each_scan_once(data, trained, tmp_path, monkeypatch):
    calls, original = [], task_transforms.make_scan
    monkeypatch.setattr(task_transforms, "make_scan", lambda file, *rest: calls.append(file) or original(file, *rest))
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[LNC]), **SMALL[LNC]}
    run(LNC, "inference", pretrained_weights=str(trained[LNC] / "models" / "model.pt"), **settings)
    assert len(calls) == len(set(calls)) == 4
    text = (tmp_path / "eval" / "submission.csv").read_text()
    assert text.splitlines()[0] == "seriesuid,coordX,coordY,coordZ,probability"
    found, given = rows(tmp_path / "eval" / "submission.csv"), rows(data[LNC] / "candidates.csv")
    names = ("seriesuid", "coordX", "coordY", "coordZ")
    assert [tuple(row[name] for name in names) for row in found] == [
        tuple(row[name] for name in names) for row in given
    ]
    network = network_of(trained[LNC])
    for row in found[::7]:
        scan = load_scan(data[LNC] / "subset0" / f"{row['seriesuid']}.mhd", (-1000, 1000), "range")
        (center,) = nearest_voxels([[float(row[name]) for name in names[1:]]], scan.affine)
        cube = torch.from_numpy(cut_cube(scan.volume.numpy(), center, (16, 16, 16)))
        with torch.no_grad():
            probability = float(network(cube[None, None]).softmax(dim=1)[0, 1])
        assert float(row["probability"]) == pytest.approx(probability, abs=1e-5)


def test_inference_of_one_scan_with_a_list_of_its_own(data, trained, tmp_path):
    entry = json.loads((data[LNC] / "datalist.json").read_text())["test"][0]
    listed = tmp_path / "mine.csv"
    x, y, z, _ = entry["candidates"][2]
    listed.write_text(f"seriesuid,coordX,coordY,coordZ\n{entry['seriesuid']},{x},{y},{z}\n1.2.3,0,0,0\n")
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[LNC] / entry["image"]), "candidates": str(listed)}
    settings |= {"pretrained_weights": str(trained[LNC] / "models" / "model.pt"), **SMALL[LNC]}
    run(LNC, "inference", **settings)
    assert len(rows(tmp_path / "eval" / "submission.csv")) == 1
    with raises_user_error(r"1 of 2 series of .*mine.csv have no scan, first: 1.2.3"):
        run(LNC, "inference", strict="true", **settings)


def test_inference_names_a_scan_whose_candidates_lie_outside(data, trained, tmp_path, capsys):
    uids = [
        json.loads((data[LNC] / "datalist.json").read_text())[split][0]["seriesuid"] for split in ("test", "training")
    ]
    given = [row for row in rows(data[LNC] / "candidates.csv") if row["seriesuid"] in uids]
    given[-1]["coordX"] = "9999"
    with (tmp_path / "candidates.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(given[0]))
        table.writeheader()
        table.writerows(given)
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[LNC]), **SMALL[LNC]}
    settings |= {"candidates": str(tmp_path / "candidates.csv")}
    run(LNC, "inference", pretrained_weights=str(trained[LNC] / "models" / "model.pt"), **settings)
    printed = capsys.readouterr().out
    assert f"skipped: candidates: 1 of 5 lie outside {data[LNC]}" in printed
    assert "1 of 2 scans classified" in printed
    assert len(rows(tmp_path / "eval" / "submission.csv")) == 5


def test_inference_of_subjects_agrees_with_evaluation(data, trained, tmp_path):
    weights = str(trained[ADC] / "models" / "model.pt")
    settings = {
        "bundle_root": str(tmp_path),
        "dataset_dir": str(data[ADC]),
        "pretrained_weights": weights,
        **SMALL[ADC],
    }
    run(ADC, "train", "evaluate", **settings)
    run(ADC, "inference", datalist=str(data[ADC] / "datalist.json"), **settings)
    assert (tmp_path / "eval" / "predictions.csv").read_text().startswith("subject,probability\nsubject_6,")
    found, evaluated = rows(tmp_path / "eval" / "predictions.csv"), rows(tmp_path / "output" / "evaluation.csv")
    assert [row["subject"] for row in found] == [row["case"] for row in evaluated] == ["subject_6", "subject_7"]
    for ours, theirs in zip(found, evaluated, strict=True):  # the same cubes, in batches of another size
        assert float(ours["probability"]) == pytest.approx(float(theirs["probability"]), abs=1e-6)
    run(ADC, "inference", **settings)
    assert len(rows(tmp_path / "eval" / "predictions.csv")) == 8


def inferred_cubes(flow, item):
    """Return the cubes that inference gives its network for one scan, (N, 1, H, W, D)."""
    seen = []

    def network(cubes):
        seen.append(torch.as_tensor(cubes).clone())
        return torch.zeros(len(cubes), 2)

    more = {"centers": item["candidates"][None]} if "candidates" in item else {}
    flow.inferer(item["image"][None], network, **more)
    return torch.cat(seen)


@pytest.mark.parametrize(("task", "spacing"), [[LNC, [1.0, 1.0, 1.0]], [LNC, [2.0, 1.5, 3.0]], [ADC, [8.0, 8.0, 8.0]]])
def test_training_and_inference_see_the_same_cubes(task, spacing, data, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[task]), **SMALL[task], "spacing": spacing}
    settings["datalist"] = str(data[task] / "datalist.json")
    training = workflow(task, "train", **settings)
    training.initialize()
    inference = workflow(task, "inference", split="training", **settings)
    inference.initialize()
    transform = training.parser.get_parsed_content("validate::preprocessing")
    dataset = training.train_dataset
    dataset.transform = transform  # without augmentation
    trained = [torch.as_tensor(dataset[number]["image"]) for number in range(len(dataset))]
    found = torch.cat([inferred_cubes(inference, item) for item in inference.parser.get_parsed_content("dataset")])
    assert len(found) == len(trained) > 2
    assert found.std() > 0.01
    for ours, theirs in zip(found, trained, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("configs", [("train", "evaluate"), ("inference",)])
@pytest.mark.parametrize("task", SMALL)
def test_another_spacing_than_in_training_warns(task, configs, data, trained, tmp_path, caplog):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[task]), **SMALL[task]}
    settings["pretrained_weights"] = str(trained[task] / "models" / "model.pt")
    there = settings.get("spacing", [1.0, 1.0, 1.0])
    for spacing, warned in ((there, False), ([7.0, 8.0, 8.0], True)):
        caplog.clear()
        run(task, *configs, **{**settings, "spacing": spacing})
        lines = [record.getMessage() for record in caplog.records if "was trained with" in record.getMessage()]
        assert len(lines) == warned
        assert all(f"was trained with spacing {there}, this run has {spacing}" in line for line in lines)


@pytest.mark.parametrize("configs", [("train", "evaluate"), ("inference",)])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ["spacing", [1.0, 1.0], "is not three positive numbers"],
        ["foreground_crop", "maybe", "'maybe' is not a boolean"],
        ["intensity_range", [1000, -1000], r"is neither \[low, high\] nor null"],
    ],
)
def test_settings_of_evaluation_and_inference_are_checked(configs, key, value, message, data, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[LNC]), **SMALL[LNC], key: value}
    with raises_user_error(f"^{key}: .*{message}"):
        workflow(LNC, *configs, **settings).initialize()


@pytest.mark.parametrize("task", SMALL)
def test_a_resumed_run_ends_like_one_in_one_piece(task, data, tmp_path):
    settings = {"dataset_dir": str(data[task]), "early_stopping_patience": 5, **SMALL[task]}
    run(task, "train", bundle_root=str(tmp_path / "whole"), epochs=3, **settings)
    run(task, "train", bundle_root=str(tmp_path / "parts"), epochs=1, **settings)
    torch.rand(7)  # whatever happens in between
    run(task, "train", bundle_root=str(tmp_path / "parts"), epochs=3, resume="true", **{**settings, "num_workers": 1})
    for read in (model, checkpoint):
        first, second = read(tmp_path / "whole"), read(tmp_path / "parts")
        assert all(torch.equal(first[name], second[name]) for name in first)
    whole, parts = (rows(tmp_path / name / "output" / "losses.csv") for name in ("whole", "parts"))
    assert [{**row, "seconds": ""} for row in whole] == [{**row, "seconds": ""} for row in parts]


def test_it_starts_from_pretrained_weights(data, tmp_path, caplog):
    source = UniversalModel(features=FEATURES)
    torch.save(source.state_dict(), tmp_path / "pretrained.pt")
    settings = {"dataset_dir": str(data[ADC]), "bundle_root": str(tmp_path), **SMALL[ADC]}
    flow = workflow(ADC, "train", pretrained_weights=str(tmp_path / "pretrained.pt"), **settings)
    flow.initialize()
    own = flow.network_def.state_dict()
    encoder = {name: value for name, value in source.state_dict().items() if name.startswith("encoder")}
    assert encoder
    assert all(torch.equal(own[name], value) for name, value in encoder.items())
    with caplog.at_level(logging.INFO):
        workflow(ADC, "train", **settings).initialize()
    assert "from scratch" in caplog.text


def test_two_processes_train_together(data, tmp_path):
    folder = REPOSITORY / "bundles" / LNC / "configs"
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle"]
    line += ["run", "--config_file", str([str(folder / f"{name}.json") for name in ("train", "multi_gpu_train")])]
    line += ["--bundle_root", str(tmp_path), "--dataset_dir", str(data[LNC]), "--epochs", "2", "--num_workers", "0"]
    line += ["--features", str(FEATURES), "--patch_size", "[16,16,16]", "--batch_size", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    record = rows(tmp_path / "output" / "losses.csv")
    assert len(record) == 2
    assert 0 <= float(record[1]["val_auc"]) <= 1
    network_of(tmp_path)


def _datalist(data, tmp_path, change):
    content = json.loads((data / "datalist.json").read_text())
    change(content)
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    return str(tmp_path / "datalist.json")


def test_without_validation_cases_the_last_model_is_kept(data, tmp_path, caplog):
    datalist = _datalist(data[LNC], tmp_path, lambda content: content.update(validation=[]))
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[LNC]), "datalist": datalist, **SMALL[LNC]}
    run(LNC, "train", epochs=2, **settings)
    assert "has no 'validation' cases: the last epoch's model is kept" in caplog.text
    last = checkpoint(tmp_path)
    assert all(torch.equal(value, last[name]) for name, value in model(tmp_path).items())


def _no_positives(content):
    for entry in content["training"]:
        entry["candidates"] = [one for one in entry["candidates"] if one[3] == 0]


def _one_class_to_validate_on(content):
    content["validation"][0]["candidates"] = content["validation"][0]["candidates"][:2]


def _outside(content):
    content["training"][1]["candidates"][0][2] += 500.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        [_no_positives, r"zero positives .class 1. among the 6 samples of 'training'"],
        [_one_class_to_validate_on, r"zero negatives .class 0. among the 2 samples of 'validation'.*AUC"],
        [_outside, r"candidates: 1 of 5 lie outside .*100001.mhd"],
        [lambda content: content.pop("training"), "has no 'training' cases"],
        [lambda content: content["training"][0].update(image="gone.mhd"), "no file .*gone.mhd"],
    ],
)
def test_mistakes_end_in_one_line_before_training(change, message, data, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[LNC]), **SMALL[LNC]}
    settings["datalist"] = _datalist(data[LNC], tmp_path, change)
    flow = workflow(LNC, "train", **settings)
    with raises_user_error(message):
        flow.initialize()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ["seriesuid,coordX,coordY\n1,2,3\n", "lacks the column 'coordZ'"],
        ["seriesuid,coordX,coordY,coordZ\n1.2.3,2,3,4\n", r"no series of .*list.csv has a scan in .* \(first: 1.2.3\)"],
    ],
)
def test_lists_that_cannot_be_classified(text, message, data, trained, tmp_path):
    (tmp_path / "list.csv").write_text(text)
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[LNC]), "candidates": str(tmp_path / "list.csv")}
    with raises_user_error(message):
        run(LNC, "inference", pretrained_weights=str(trained[LNC] / "models/model.pt"), **settings, **SMALL[LNC])


def test_two_scans_of_a_series_are_not_chosen_from(tmp_path):
    series = write_luna16(tmp_path, scans=1)[0]["seriesuid"]
    (tmp_path / "copy").mkdir()
    for file in (tmp_path / "subset0").iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=rf"{series}.mhd are both the scan of a series: remove one"):
        list_candidates(str(tmp_path))


def test_oblique_and_flipped_scans_are_classified_alike(trained, tmp_path):
    """A scan whose voxels are stored in another order gives each of its candidates the same probability."""
    entry = write_luna16(tmp_path / "one", scans=1)[0]
    from luna import write_metaimage

    from universal_model_components.imaging.reading import read_scan

    voxels, affine = read_scan(tmp_path / "one" / entry["image"])
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine))
    uid = entry["seriesuid"]
    file = write_metaimage(tmp_path / "two" / f"{uid}.mhd", np.asarray(turned.dataobj), turned.affine)
    assert not np.allclose(turned.affine, affine)
    x, y, z, _ = entry["candidates"][0]
    here = np.linalg.solve(turned.affine[:3, :3], np.array([-x, -y, z]) - turned.affine[:3, 3])
    assert world(here, turned.affine) == pytest.approx([x, y, z])
    answers = []
    for folder in (tmp_path / "one", file.parent):
        (folder / "candidates.csv").write_text((tmp_path / "one" / "candidates.csv").read_text())
        settings = {"bundle_root": str(folder), "dataset_dir": str(folder), **SMALL[LNC]}
        run(LNC, "inference", pretrained_weights=str(trained[LNC] / "models" / "model.pt"), **settings)
        answers.append([float(row["probability"]) for row in rows(folder / "eval" / "submission.csv")])
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)
