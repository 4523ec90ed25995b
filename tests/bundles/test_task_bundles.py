# SPDX-License-Identifier: Apache-2.0
"""What the task bundles of both kinds do: they train for a few steps, resume, evaluate, and name what is wrong."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from classification_tasks import ADC, LNC
from conftest import REPOSITORY
from task_bundles import (
    FEATURES,
    SEGMENTATION,
    SMALL,
    assert_same,
    change_datalist,
    checkpoint,
    model,
    read_json,
    rows,
    run,
    trained_network,
)
from user_errors import raises_user_error

from universal_model_components.method.models import UniversalModel

BTS, LAS_CT, LAS_MRI = SEGMENTATION
EVALUATE = ("train", "evaluate")
WRONG_LABEL = r"^3 of 3 cases cannot be used: /.*case_0.nii.gz: label value 4 in \d+ voxels, expected \[0, 1\]"
METRICS = {
    **dict.fromkeys(SEGMENTATION, ("loss", "train_iou", "val_iou", "val_dice")),
    **dict.fromkeys((LNC, ADC), ("train_auc", "val_auc", "val_accuracy")),
}


@pytest.mark.parametrize("task", SMALL)
def test_properties_are_complete(task, small):
    for configs in (("train",), EVALUATE, ("inference",)):
        assert small.initialize(task, *configs).check_properties() == [], configs


@pytest.mark.parametrize("task", SMALL)
def test_training_leaves_a_model_and_its_record(task, small):
    root = small.trained(task)
    record = rows(root / "output" / "losses.csv")
    assert [row["epoch"] for row in record] == ["1", "2"]
    assert float(record[0]["lr"]) == 0.001
    assert all(0 <= float(record[-1][name]) <= 1 for name in METRICS[task])
    trained_network(task, root)
    assert list((root / "output" / "tensorboard").iterdir())
    if task in SEGMENTATION:
        assert [file.name for file in (root / "output" / "panels").iterdir()] == ["epoch_0002.png"]


@pytest.mark.parametrize("task", [BTS, LNC, ADC])
def test_a_resumed_run_ends_like_one_in_one_piece(task, small, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = {"early_stopping_patience": 5}
    small.run(task, "train", bundle_root=whole, epochs=3, **settings)
    small.run(task, "train", bundle_root=parts, epochs=1, **settings)
    torch.rand(7)  # whatever happens in between
    small.run(task, "train", bundle_root=parts, epochs=3, resume="true", num_workers=1, **settings)
    assert_same(model(whole), model(parts))
    assert_same(checkpoint(whole), checkpoint(parts))
    first, second = (rows(root / "output" / "losses.csv") for root in (whole, parts))
    assert [{**row, "seconds": ""} for row in first] == [{**row, "seconds": ""} for row in second]


@pytest.mark.parametrize(("task", "parts"), [(BTS, ("encoder.", "decoder.levels.")), (ADC, ("encoder.",))])
def test_it_starts_from_pretrained_weights(task, parts, small, tmp_path):
    source = UniversalModel(features=FEATURES).state_dict()
    torch.save(source, tmp_path / "pretrained.pt")
    network = small.initialize(task, "train", pretrained_weights=tmp_path / "pretrained.pt").network_def
    own = network.state_dict()
    for part in parts:
        names = [name for name in source if name.startswith(part)]
        assert names
        assert all(torch.equal(own[name], source[name]) for name in names)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("task", [BTS, ADC])
def test_without_pretrained_weights_the_log_says_from_scratch(task, small, caplog):
    with caplog.at_level(logging.INFO):
        small.initialize(task, "train")
    assert "from scratch" in caplog.text


def command_line(bundle, names, settings, launcher=()):
    """Train by the command that users type, from another directory, without any weights to start from."""
    configs = str([str(bundle / f"configs/{name}.json") for name in names])
    line = [sys.executable, *launcher, "-m", "monai.bundle", "run", "--config_file", configs]
    settings = {"num_workers": 0, "features": FEATURES, **settings}
    line += [item for key, value in settings.items() for item in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "from scratch" in result.stdout


def test_a_moved_bundle_runs_from_any_directory(small, tmp_path):
    moved = shutil.copytree(REPOSITORY / "bundles" / LAS_MRI, tmp_path / "moved bundle")
    settings = small.settings(LAS_MRI, "train", bundle_root=moved, label_values=[420], epochs=1)
    command_line(moved, ["train"], settings)
    assert model(moved)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        (LAS_CT, {"label_values": [420], "epochs": 1}),  # six cubes in one step: two processes with four each
        (LNC, {"batch_size": 2, "epochs": 2}),
    ],
)
def test_several_processes_train_together(task, changes, small, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    settings = small.settings(task, "train", **changes)
    command_line(REPOSITORY / "bundles" / task, ["train", "multi_gpu_train"], settings, launcher)
    record = rows(tmp_path / "output" / "losses.csv")
    assert len(record) == changes["epochs"]
    if task == LAS_CT:
        assert record[0]["step"] == "1"
    assert 0 <= float(record[-1]["val_iou" if task == LAS_CT else "val_auc"]) <= 1
    trained_network(task, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        [{"datalist": "/nowhere.json"}, "datalist: cannot read /nowhere.json"],
        [{"amp": "maybe"}, "^amp: 'maybe' is not a boolean: give true or false"],
        [{"intensity_range": [0]}, r"^intensity_range: \[0\] is neither \[low, high\] nor null"],
        [{"label_fraction": 2}, "label_fraction: 2 is not within 0 and 1, and above 0"],
        [{"label_values": [1]}, WRONG_LABEL],
        [{"label_values": [1], "cache_rate": 0, "num_workers": 1}, WRONG_LABEL],
        [{"val_interval": 5, "epochs": 2}, "^val_interval 5 is more than the 2 epochs"],
    ],
)
def test_settings_of_training_are_checked(settings, message, small):
    with raises_user_error(message):
        small.run(BTS, "train", **settings)


@pytest.mark.parametrize("configs", [EVALUATE, ("inference",)])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ["spacing", [1.0, 1.0], "is not three positive numbers"],
        ["foreground_crop", "maybe", "'maybe' is not a boolean"],
        ["intensity_range", [1000, -1000], r"is neither \[low, high\] nor null"],
    ],
)
def test_settings_of_evaluation_and_inference_are_checked(configs, key, value, message, small):
    with raises_user_error(f"^{key}: .*{message}"):  # before the weights, which are not there
        run(LNC, *configs, **small.settings(LNC, *configs, **{key: value}))


@pytest.mark.parametrize("task", [BTS, ADC])
def test_evaluation_ends_in_one_line(task, small, tmp_path):
    with raises_user_error(r"no file .*model\.pt: train"):
        run(task, *EVALUATE, **small.settings(task, *EVALUATE))
    with raises_user_error(r"^split: 'holdout' is not one of \['training', 'validation', 'test'\]"):
        small.run(task, *EVALUATE, split="holdout")
    datalist = change_datalist(small.data(task), tmp_path, lambda content: content.update(test=[]))
    with raises_user_error("has no 'test' cases"):
        small.run(task, *EVALUATE, datalist=datalist)


@pytest.fixture
def damaged(small, tmp_path):
    """Copy a task's cases: the first to train on and the first to test on are cut, beside a mask that is a web page."""

    def copy(task):
        folder = shutil.copytree(small.data(task), tmp_path / "cases")
        listed = read_json(folder / "datalist.json")
        for split in ("training", "test"):
            file = folder / listed[split][0]["image"]
            file.write_bytes(file.read_bytes()[:-3000])
        if task in SEGMENTATION:
            (folder / "labels/case_1.nii.gz").write_text("<html>not found</html>")
        return folder, listed

    return copy


def used(task, output):
    """The cases in what inference has written."""
    if task in SEGMENTATION:
        return [file.name.removesuffix("_seg.nii.gz") for file in output.rglob("*.nii.gz")]
    return [row["subject"] for row in rows(output / "predictions.csv")]


@pytest.mark.parametrize(("task", "workers"), [(BTS, 0), (BTS, 2), (ADC, 0)])
def test_inference_and_evaluation_name_and_skip_what_cannot_be_read(task, workers, damaged, small, tmp_path, capsys):
    cases, listed = damaged(task)
    first, second = (cases / entry["image"] for entry in listed["test"])
    bad, good = (entry["case"] for entry in listed["test"])
    settings = {"dataset_dir": cases, "num_workers": workers}
    test = {**settings, "datalist": cases / "datalist.json"}
    small.run(task, "inference", **test)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"1 of 2 scans {'segmented' if task in SEGMENTATION else 'classified'}, 1 skipped"
    assert re.match(rf"skipped: .*{re.escape(first.name)}: ", lines[-2])
    assert used(task, tmp_path / "eval") == [good]
    small.run(task, *EVALUATE, **settings)
    record = {row["case"]: row for row in rows(tmp_path / "output" / "evaluation.csv")}
    summary = read_json(tmp_path / "output" / "evaluation.json")
    number, value = ("cases", "iou") if task in SEGMENTATION else ("samples", "probability")
    assert (summary[number], summary["unusable"] if task in SEGMENTATION else len(summary["not_scored"])) == (1, 1)
    assert list(record) == [good, bad]
    assert record[bad][value] == ""
    assert f"{first}: " in record[bad]["reason"]
    assert {"case": bad, "reason": record[bad]["reason"]} in summary["not_scored"]
    second.unlink() if task in SEGMENTATION else second.write_bytes(first.read_bytes())
    reason = "no such file" if task in SEGMENTATION else "unreadable"
    with raises_user_error(rf"^2 of 2 cases cannot be used: .*{first.name}: .*; .*{second.name}: {reason}"):
        small.run(task, *EVALUATE, **settings)
    with raises_user_error("^2 of 2 scans skipped, listed above, and none is left"):
        small.run(task, "inference", **test)


@pytest.mark.parametrize("task", [BTS, ADC])
def test_training_names_every_bad_file_before_its_first_epoch(task, damaged, small, tmp_path):
    cases, listed = damaged(task)
    bad = cases / listed["training"][0]["image"]
    if task in SEGMENTATION:
        with raises_user_error(r"labels/case_1\.nii\.gz"):  # by its header
            small.run(task, "train", dataset_dir=cases)
        change_datalist(cases, cases, lambda content: content["training"].pop(1))
    number, more = (2, [{"cache_rate": 0.0}, {"cache_rate": 1.0}]) if task in SEGMENTATION else (6, [{}])
    for changes in more:
        with raises_user_error(rf"^1 of {number} cases cannot be used: {bad}: unreadable"):
            small.run(task, "train", dataset_dir=cases, **changes)
    assert not list((tmp_path / "models").glob("*"))
