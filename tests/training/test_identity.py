# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil

import pytest
import torch
from monai.losses import DiceLoss
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau

from universal_model_components.method.models import UniversalModel
from universal_model_components.training.identity import CHANGEABLE, describe, differences, run_identity
from universal_model_components.training.schedules import FineTuningSchedule, fine_tuning_groups
from universal_model_components.weights.provenance import complete, write_weights


def network(**settings):
    return UniversalModel(features=[4, 8], **settings)


def changed(first, second):
    return [key for key, _, _ in differences(describe(first), describe(second))]


def sgd(**settings):
    return torch.optim.SGD([{"params": network().parameters(), "name": "unet", "lr": 0.1}], **settings)


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        (network(), network(), []),
        (network(), network(reversal=0.5), ["reversal"]),
        (network(), network(batch_statistics=True), None),
        (sgd(), sgd(), []),
        (sgd(momentum=0.9), sgd(momentum=0.8), ["momentum"]),
        (sgd(), torch.optim.AdamW(network().parameters()), None),
        (DiceLoss(sigmoid=True), DiceLoss(sigmoid=True, batch=True), ["batch"]),
        (torch.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(label_smoothing=0.1), ["label_smoothing"]),
        (LinearLR(sgd(), 0.5, total_iters=3), LinearLR(sgd(), 0.5, total_iters=4), ["total_iters"]),
        (ReduceLROnPlateau(sgd()), ReduceLROnPlateau(sgd(), patience=3), ["patience"]),
    ],
)
def test_objects_are_described_by_their_settings(first, second, keys):
    found = changed(first, second)
    assert found if keys is None else found == keys


def test_a_state_is_no_setting():
    optimizer = sgd(momentum=0.9)
    schedule, plateau = LinearLR(optimizer, 0.5, total_iters=3), ReduceLROnPlateau(optimizer)
    before = [describe(thing) for thing in (optimizer, schedule, plateau)]
    for _ in range(3):
        optimizer.step()
        schedule.step()
        plateau.step(1.0)
    assert [describe(thing) for thing in (optimizer, schedule, plateau)] == before


def test_a_schedule_that_does_not_depend_on_the_length_may_be_longer():
    optimizer = torch.optim.Adam(fine_tuning_groups(network(), 0.1))
    shares = {"head": 0.2, "warmup": 0.1}
    short, long = (FineTuningSchedule(optimizer, "constant", shares, steps) for steps in (2, 4))
    assert changed(short, long) == []
    short, long = (FineTuningSchedule(optimizer, "warmup", shares, steps) for steps in (2, 4))
    assert changed(short, long) == ["steps"]


def test_settings_are_plain_and_the_changeable_ones_are_left_out(tmp_path):
    settings = {"amp": "false", "sides": (1, 2), "rate": {"unet": 1}, "loss": DiceLoss(), "device": torch.device("cpu")}
    found = run_identity({**settings, **dict.fromkeys(CHANGEABLE, 1)}, {"recorder": object()}, tmp_path)
    assert found.keys() == settings.keys()
    assert (found["amp"], found["sides"], found["rate"], found["device"]) == (False, [1, 2], {"unet": 1}, "cpu")
    assert found["loss"]["class"] == "DiceLoss"
    torch.save(found, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True) == found


def test_weights_are_named_by_their_content(tmp_path):
    def named(file):
        return run_identity({"pretrained_weights": str(file)}, {}, tmp_path / "models")["pretrained_weights"]

    for name in ("a", "b", "models/model"):
        state = network().state_dict()
        write_weights(tmp_path / f"{name}.pt", state, complete(None, state))
    shutil.copy(tmp_path / "a.pt", tmp_path / "moved.pt")
    assert named(tmp_path / "a.pt") == named(tmp_path / "moved.pt") != named(tmp_path / "b.pt")
    assert named(tmp_path / "models/model.pt") == "model.pt of ckpt_dir"  # which the run itself replaces
    assert run_identity({"pretrained_weights": "null"}, {}, tmp_path) == {"pretrained_weights": None}
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pt"):
        named(tmp_path / "none.pt")


def test_what_a_checkpoint_does_not_state_is_not_compared():
    assert list(differences({}, {"a": 1})) == []
    assert list(differences({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}})) == [("a::c", None, 2)]
    assert list(differences({"a": [1, 2]}, {"a": [1, 3]})) == [("a", [1, 2], [1, 3])]
    assert list(differences({"a": [{"b": 1}]}, {"a": [{"b": 2}]})) == [("a::0::b", 1, 2)]
    assert list(differences({"a": 1}, {})) == [("a", 1, None)]
