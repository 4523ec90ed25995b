# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from conftest import REPOSITORY

from universal_model_components.method.trainer import PARTS
from universal_model_components.tasks import settings
from universal_model_components.tasks.settings import check_settings

TASKS = json.loads((REPOSITORY / "scripts/bundle_parts/tasks.json").read_text())


@pytest.mark.parametrize("task", TASKS)
def test_the_settings_of_the_tasks_pass(task):
    check_settings({"features": [64, 128, 256, 512], **TASKS[task]["settings"]})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"amp": "false", "resume": True, "spacing": "null", "patch_size": None, "intensity_range": "null"},
        {"features": [4, 8], "patch_size": [6, 2, 4], "intensity_range": [0, 1], "label_values": [1, 2]},
        {"intensity_range": {"ct": [-1000, 1000], "mri": "null"}, "intensity_scale": {"ct": "range", "mri": "volume"}},
        {"intensity_scale": "percentiles"},
        {"intensity_scale": {"ct": "range", "mri": "percentiles"}},
        {"learning_rate": {"unet": 1.0, "discriminator": 0}, "mial": "false", "scale_classifier": True},
        {"learning_rate": {"loaded": 0, "new": 0.01}, "schedule": "sawtooth", "transfer": "encoder"},
        {"schedule": {"warmup_steps": 3}},  # of pre-training
        {"overlap": 0, "cache_rate": 1.0, "label_noise": "null", "num_workers": 0, "image_interval": 0},
    ],
)
def test_good_settings_pass(settings):
    check_settings(settings)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ["amp", "maybe", "'maybe' is not a boolean"],
        ["batch_size", 0, "0 is not a whole number of at least 1"],
        ["epochs", 1.5, "1.5 is not a whole number"],
        ["num_workers", "two", "'two' is not a whole number of at least 0"],
        ["learning_rate", "high", "is not a number above 0"],
        ["learning_rate", {"unet": -1}, "is not a number above 0"],
        ["learning_rate", {"unet": 0, "discriminator": 0}, "is not a number above 0"],
        ["mial", "some", "'some' is not a boolean"],
        ["overlap", 1, "1 is not within 0 and 1, and less than 1"],
        ["foreground_share", 2, "2 is not within 0 and 1"],
        ["features", "64", "are not whole numbers"],
        ["spacing", [1, 1], "is not three positive numbers"],
        ["spacing", [1, 1, 0], "is not three positive numbers"],
        ["patch_size", [30, 32, 16], "each divisible by 8"],
        ["patch_size", [64, 64], "is not three whole numbers of voxels"],
        ["intensity_range", [0], r"is neither \[low, high\] nor null"],
        ["intensity_range", [4000, 0], r"is neither \[low, high\] nor null"],
        ["intensity_range", {"ct": [-1000, 1000], "mri": [4000, 0]}, r"\[4000, 0\] is neither \[low, high\] nor null"],
        ["intensity_scale", {"ct": "range", "mri": "z-score"}, r"is not one of \['range', 'volume', 'percentiles'\]"],
        ["foreground_crop", "maybe", "'maybe' is not a boolean"],
        ["intensity_scale", "z-score", r"is not one of \['range', 'volume', 'percentiles'\]"],
        ["label_values", [1, 1], "name each value once"],
        ["label_noise", 0.3, "is not a radius of 1 mm or more"],
    ],
)
def test_a_bad_setting_is_named_in_one_line(key, value, message):
    with pytest.raises(ValueError, match=f"^{key}: .*{message}") as caught:
        check_settings({"features": [64, 128, 256, 512], key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ["schedule", "cosine", r"'cosine' is not one of \['constant', 'warmup', 'sawtooth'\]"],
        ["transfer", "decoder", r"'decoder' is not one of \['encoder', 'encoder\+decoder'\]"],
        ["learning_rate", {"loaded": 0.1}, "is neither a number nor one for each of 'loaded' and 'new'"],
        ["learning_rate", {"unet": 0.1}, "is neither a number nor one for each of 'loaded' and 'new'"],
        ["schedule_shares", 0.2, "0.2 are not shares of the steps"],
        ["schedule_shares", {"head": 0.2}, "are not shares of the steps"],
        ["schedule_shares", {"head": 0.9, "warmup": 0.1}, "less than 1 together"],
        ["schedule_shares", {"head": -0.1, "warmup": 0.1}, "are not shares of the steps"],
        ["loaded_statistics", "fresh", r"'fresh' is not one of \['kept', 'reestimated'\]"],
        ["channels_last", "maybe", "'maybe' is not a boolean"],
    ],
)
def test_a_bad_setting_of_fine_tuning_is_named_in_one_line(key, value, message):
    with pytest.raises(ValueError, match=f"^{key}: .*{message}") as caught:
        check_settings({"transfer": "encoder", key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        [{}, True],
        [{"features": [4, 8, 16]}, False],
        [{"features": [4, 8, 16, 32, 64], "patch_size": [32, 32, 32]}, True],
        [{"patch_size": [8, 16, 16]}, True],
        [{"patch_size": [32, 16, 16]}, False],
        [{"amp": False}, False],
        [{"split": "test"}, False],  # an evaluation
    ],
)
def test_bfloat16_on_a_cpu_needs_more_than_two_voxels(settings, wrong):
    """PyTorch 2.13's gradients of a convolution's weights are wrong where the first side has 2 voxels."""
    given = {"amp": "true", "device": "cpu", "features": [4, 8, 16, 32], "patch_size": [16, 16, 16], **settings}
    if not wrong:
        check_settings({"transfer": "encoder", **given})
        return
    least = 4 * 2 ** (len(given["features"]) - 1)
    with pytest.raises(ValueError, match=f"^amp: .*give amp false, or a patch_size that begins with {least} or more"):
        check_settings({"transfer": "encoder", **given})


def test_a_task_is_trained_on_patches():
    with pytest.raises(ValueError, match=r"^patch_size: null is for inference"):
        check_settings({"transfer": "encoder", "patch_size": "null"})


def test_statistics_that_the_network_does_not_keep_cannot_be_estimated():
    settings = {"transfer": "encoder", "loaded_statistics": "reestimated", "batch_statistics": "true"}
    with pytest.raises(ValueError, match=r"^loaded_statistics: .* give batch_statistics false"):
        check_settings(settings)


PRETRAINING = {"alpha": 1, "schedule": {}, "mial": "false", "scale_classifier": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        [{"learning_rate": 0.1}, "learning_rate: 0.1 is not a mapping with a rate for each of"],
        [{"learning_rate": {"unet": 0.1}}, r"learning_rate: .* for each of \['unet', 'scale_classifier'\]"],
        [{"learning_rate": {"unet": 1, "scale_classifier": 1, "decoder": 1}}, "learning_rate: .* for each of"],
        [{"pretext": "jigsaw"}, r"learning_rate: .* for each of \['unet', 'classifier'\]"],
        [{"schedule": "warmup"}, "schedule: 'warmup' is not what it describes: give warmup_steps"],
        [{"modalities": ["ct", "us"], "spacing": None, "intensity_range": {"ct": None}}, "for modality 'us'"],
        [{"modalities": ["ct"], "modality": "mri"}, r"modality: 'mri' is not one of \['ct'\]"],
        [{"dataset_dir": "null"}, "dataset_dir: null is for prepare"],
        [
            {
                "mial": True,
                "modalities": ["ct"],
                "learning_rate": {"unet": 1, "scale_classifier": 1, "discriminator": 1},
            },
            "mial: there is one modality, 'ct', to tell from no other: give mial false",
        ],
        [{"probe_patience": 2, "probe_interval": 0}, "probe_patience: there is no probe to wait for"],
    ],
)
def test_settings_of_pretraining_that_do_not_fit_together(changes, message):
    good = {**PRETRAINING, "learning_rate": {"unet": 1.0, "scale_classifier": 0.1}}
    check_settings(good, {"dataset_dir": "."})
    with pytest.raises(ValueError, match=message):
        check_settings(good, changes)


def test_the_parts_with_rates_are_the_trainers():
    assert set(settings.PARTS) == set(PARTS)
