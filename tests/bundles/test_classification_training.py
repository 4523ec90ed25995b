# SPDX-License-Identifier: Apache-2.0
"""Training of LNC and ADC: the paper's settings, the cubes it sees, and datalists that it refuses."""

from __future__ import annotations

import pytest
import torch
from classification_tasks import ADC, LNC
from task_bundles import change_datalist, checkpoint, model, rows, workflow
from user_errors import raises_user_error


def test_the_paper_settings_are_the_defaults(small, tmp_path):
    flow = workflow(LNC, "train", bundle_root=str(tmp_path), dataset_dir=str(small.data(LNC)))
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


def test_training_learns(small, tmp_path):
    small.run(LNC, "train", epochs=15, val_interval=15, learning_rate=0.01)
    record = rows(tmp_path / "output" / "losses.csv")
    assert float(record[-1]["loss"]) < 0.2 < float(record[0]["loss"])
    assert float(record[-1]["val_auc"]) == 1.0  # nodules are bright, the others are not


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
def test_training_and_inference_see_the_same_cubes(task, spacing, small):
    settings = {"spacing": spacing, "datalist": small.data(task) / "datalist.json"}
    training = small.initialize(task, "train", **settings)
    inference = small.initialize(task, "inference", split="training", **settings)
    dataset = training.train_dataset
    dataset.transform = training.parser.get_parsed_content("validate::preprocessing")  # without augmentation
    trained = [torch.as_tensor(dataset[number]["image"]) for number in range(len(dataset))]
    found = torch.cat([inferred_cubes(inference, item) for item in inference.parser.get_parsed_content("dataset")])
    assert len(found) == len(trained) > 2
    assert found.std() > 0.01
    for ours, theirs in zip(found, trained, strict=True):
        assert torch.equal(ours, theirs)


def test_without_validation_cases_the_last_model_is_kept(small, tmp_path, caplog):
    datalist = change_datalist(small.data(LNC), tmp_path, lambda content: content.update(validation=[]))
    small.run(LNC, "train", datalist=datalist, epochs=2, early_stopping_patience=1, validation_negatives="null")
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
def test_mistakes_end_in_one_line_before_training(change, message, small, tmp_path):
    datalist = change_datalist(small.data(LNC), tmp_path, change)
    with raises_user_error(message):
        small.initialize(LNC, "train", datalist=datalist)
