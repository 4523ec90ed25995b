# SPDX-License-Identifier: Apache-2.0
"""A hundred wrong settings of each bundle's train.json, and of the other configs: none accepted, none a traceback."""

from __future__ import annotations

import copy
import functools

import pytest
from config_layout import USER_KEYS
from conftest import REPOSITORY
from monai.bundle import ComponentLocator, ConfigParser
from task_bundles import BUNDLES, PRETRAINING, TASKS, workflow
from user_errors import raises_user_error

from universal_model_components.tasks.settings import CHECKS

FOLDERS = ("dataset_dir", "output_dir", "ckpt_dir", "cache_dir", "cube_store")
TEXTS = ("bundle_root", "dataset_dir", "output_dir", "ckpt_dir")
ALL = {  # wrong values of keys that all bundles' train.json have
    "bundle_root": [1.5, None, ""],
    **{key: [2024, 1e5, None, "", ["a", "b"]] for key in TEXTS[1:]},
    "device": ["gpu", "cuda:99", "", -1.5, "meta", [0]],
    "seed": [-1, 1.5, "one", None, True, 2**70],
    "epochs": [1.5, 0, -3, "many", 1e2, True, float("inf")],
    "val_interval": [0, -1, 0.5, "never"],
    "batch_size": [0, -6, 2.5, "8x", [8]],
    "num_workers": [-1, 0.5, "two", None],
    "features": [64, "64", [], [64], [8, 15], [8, -16], [8, 16.5], [8, "16"], None],
    "batch_statistics": ["maybe", 2, None],
    "patch_size": [64, [64, 64], [64, 64, 36], [64, 64, -32], [64.5, 64, 32], ["a", 64, 32]],
    "early_stopping_patience": [-1, 1.5, "off"],
    "resume": ["perhaps", 3],
    "amp": ["perhaps", 16],
    "channels_last": ["perhaps", []],
}
TRAIN_TASK = {
    "datalist": [5, 1.5, ["a.json", 3]],
    "pretrained_weights": [5, 1.5, []],
    "minimum_coverage": [2, -0.1, "most", {"encoder": 2}, {}],
    "transfer": ["decoder", None, 1],
    "loaded_statistics": ["fresh", None],
    "follow_pretraining": ["maybe", 2],
    "learning_rate": [-1, 0, "high", float("nan"), {"unet": 1.0}, {"loaded": 0.1}, {"loaded": 0, "new": 0}],
    "task": [3, None],
    "modality": [3, ["ct"]],
    "spacing": [[1, 1], [1, 1, 0], [1, 1, -1], 1, "fine", [1, 1, "a"]],
    "intensity_range": [[0], [4000, 0], "wide", 5, [0, "a"], [1, 1]],
    "intensity_scale": ["z-score", None, 3],
    "label_fraction": [0, 1.5, -0.1, "half", None],
    "augmentation": [1, {"flip": 2}, {"flp": 0.5}, None],
    "augmentation::flip": [1.5, "often"],
    "augmentation::noise_std": [-0.1, "some"],
    "schedule": ["cosine", {"warmup_steps": 1}],
    "schedule_shares": [0.2, {"head": 0.9, "warmup": 0.1}, {"head": -0.1, "warmup": 0}],
}
BY_KIND = {
    "segmentation": {
        "label_values": [[1, 1], [0.5], "all", {"forground": [1]}, {"foreground": []}, {"foreground": ["a"]}],
        "label_noise": [0.3, -1, "some", float("inf")],
        "cubes_per_case": [0, 1.5],
        "foreground_share": [2, -0.5, "half"],
        "cache_rate": [1.5, -1, "all"],
        "overlap": [1, -0.1, "half"],
        "image_interval": [-1, 0.5],
    },
    "classification": {
        "cache_dir": [2024, None, ""],
        "num_classes": [1, 0, 2.5, "two"],
        "foreground_crop": ["maybe", 3, None],
        "epoch_of": ["all", 1, None],
        "validation_negatives": [0, -1, "many"],
    },
}
PRETRAINING_TRAIN = {
    "cube_store": [2024, None],
    "learning_rate": [
        0.1,
        {"unet": -1.0, "scale_classifier": 0.1, "discriminator": 0.1},
        {"unet": 1.0},
        {"unett": 1.0},
    ],
    "learning_rate::unet": [-1, "high", None],
    "learning_rate::unett": [1.0],
    "modalities": [["ct", "ct"], [], 5, [1, 2], "", None],
    "mial": ["maybe", None],
    "scale_classifier": ["maybe", 7],
    "alpha": [-1, "one", None, float("inf")],
    "beta": [-10, "ten", True],
    "unchanged_weight": [2, -0.1, "half"],
    "mean_weight": [1.5, -0.1, "none"],
    "reversal": [-1, "on"],
    "reversal_ramp": [1.5, -0.1, "on"],
    "accumulation_steps": [0, 1.5, -1],
    "gradient_clip": [-1, "on", None],
    "warmup_steps": [-5, 2.5, "many"],
    "reduce_on_plateau": ["maybe", None],
    "schedule": ["constant", None],
    "freeze_normalization": ["maybe", 2],
    "checkpoint_interval": [-1, 0.5],
    "panel_interval": [-1, 1.5],
    "alarm_patience": [-1, 1.5, "off"],
    "probe_interval": [-1, 0.5],
    "probe_patience": [-2, "off"],
    "probe_data": ["datalist.json", {"datalist": 5, "dataset_dir": None, "modality": "mri"}, {"datalists": None}],
    "amp_dtype": ["int8", "float64", None, 16],
    "compile": ["maybe", 2],
    "corruption::flip": [2, -0.1, "often", None],
    "corruption::nonlinear": [1.5, True],
    "corruption::mask_side": [0, 1.5, "large"],
}
OTHER = [  # bundle, configs, key, wrong values
    (
        "left_atrium_ct_segmentation",
        ["train", "evaluate"],
        {"split": ["tset", 3], "threshold": [2], "overlays": ["some"]},
    ),
    ("left_atrium_ct_segmentation", ["train", "systems/i3d"], {"width": [0, 1.5], "stem_channels": [0, "a"]}),
    ("left_atrium_ct_segmentation", ["train", "systems/med3d"], {"dilated": ["some", 3]}),
    ("left_atrium_ct_segmentation", ["inference", "inference_onnx"], {"onnx_file": [5, 1.5]}),
    (
        "left_atrium_ct_segmentation",
        ["inference"],
        {
            **{key: ALL[key] for key in (*TEXTS, "device", "batch_size", "num_workers", "features", "amp")},
            "datalist": [5, 1.5],
            "split": ["tset", None],
            "pretrained_weights": [7, 1.5],
            "overlap": [1, "half"],
            "threshold": [1.5, -1, "half"],
            "largest_component": ["maybe"],
            "compile": ["maybe"],
            "strict": ["maybe", 2],
        },
    ),
    (
        "lung_nodule_ct_classification",
        ["train", "evaluate"],
        {"split": ["tset"], "bootstrap": [-1, 1.5], "class_names": ["a", [1, 2]], "threshold": [2, "half"]},
    ),
    ("lung_nodule_ct_classification", ["inference"], {"candidates": [5], "num_classes": [1, "a"], "modality": [3]}),
    (
        PRETRAINING,
        ["train", "evaluate"],
        {"split": ["tset"], "probe_cubes": [-1, 0.5], "panel_cubes": [-1, "all"], "pretrained_weights": [5]},
    ),
    (PRETRAINING, ["train", "modern"], {"epochs": [0], "warmup_steps": [-1], "optimizer::weight_decay": []}),
    (
        PRETRAINING,
        ["inference"],
        {
            **{key: ALL[key] for key in (*TEXTS, "device", "features", "patch_size")},
            "modality": ["pet", 3],
            "modalities": [["ct", "ct"], ["ct", "us"], 3],
            "intensity_range": [{"ct": [0], "mri": None}, {"ct": None}, [5, 1]],
            "intensity_scale": [{"ct": "range"}, {"ct": "range", "mri": "z"}],
            "overlap": [1],
        },
    ),
    (
        PRETRAINING,
        ["prepare"],
        {
            "bundle_root": ALL["bundle_root"],
            "cube_store": [5, None],
            "dataset_dir": [2024, 1.5],
            "datalist": [5, [1]],
            "groups": [5],
            "seed": ALL["seed"],
            "scheduler": [5],
            "modalities": [["ct", "ct"], [], 3, ["ct", "us"]],
            "patch_size": [[64, 64], [0, 64, 32], 64],
            "spacing": [[1, 1], [1, 1, 0], "fine"],
            "intensity_range": [{"ct": [0], "mri": None}, {"ct": None}],
            "intensity_scale": ["z-score", {"ct": "range"}],
            "foreground_crop": ["maybe", {"ct": True}, {"ct": 3, "mri": True}],
            "minimum_crop": [-5, "small", None],
            "cubes_per_volume": [64, {"large": 1}, {"large": -1, "medium": 1, "small": 1}],
            "set_factor": [{"lits2017": 0}, {"lits2017": 1.5}],
            "air_threshold": [-0.1, 1, "low"],
            "air_share": [2, "most"],
            "air_tries": [0, 1.5],
            "antialias": ["maybe", 2],
            "validation_fraction": [1, -0.1, "half"],
            "flat_share": [0, 1.5, "most", True],
            "strict": ["maybe"],
            "plan": ["maybe"],
        },
    ),
]
LOCATOR = ComponentLocator()  # one for all: each would search MONAI for its components
BUILT = (
    *("train", "validate", "placed_network", "preprocessing", "postprocessing", "handlers", "prepare", "recorder"),
    *("to_mask", "evaluation", "kinds", "best_model", "report", "evaluator", "probabilities"),
)


def wrong_settings(bundle):
    """Key and wrong value, of a bundle's train.json."""
    own = PRETRAINING_TRAIN if bundle == PRETRAINING else {**TRAIN_TASK, **BY_KIND[TASKS[bundle]["kind"]]}
    return [(key, value) for key, values in {**ALL, **own}.items() for value in values]


@functools.cache
def content(bundle, configs):
    """A config without the parts that no check of a setting reads: they take most of the time to parse."""
    folder = REPOSITORY / "bundles" / bundle / "configs"
    config = ConfigParser.load_config_files([str(folder / f"{name}.json") for name in configs])
    return {key: value for key, value in config.items() if key not in BUILT}


def check(bundle, configs, **settings):
    """Run the checks of settings that `initialize` begins with."""
    parser = ConfigParser(copy.deepcopy(content(bundle, tuple(configs))))
    parser.locator = LOCATOR
    parser.update(settings)
    parser.parse()
    checks = [place for place, line in enumerate(parser["initialize"]) if "check_settings" in line]
    assert checks == [2]  # after the two that need no setting
    parser.get_parsed_content("initialize::2")


@pytest.mark.parametrize(("bundle", "configs"), [(bundle, configs) for bundle, configs, _ in OTHER])
def test_the_defaults_of_other_configs_pass(bundle, configs):
    check(bundle, configs)


@pytest.mark.parametrize("config", ["prepare", "inference"])
def test_pet_needs_no_setting_of_its_own(config):
    check(PRETRAINING, [config], modalities=["ct", "mri", "pet"])


@pytest.mark.parametrize("bundle", BUNDLES)
def test_there_are_a_hundred_of_each_bundle(bundle):
    assert len(wrong_settings(bundle)) >= 100
    check(bundle, ["train"])


@pytest.mark.parametrize(
    ("bundle", "key", "value"), [(bundle, *wrong) for bundle in BUNDLES for wrong in wrong_settings(bundle)]
)
def test_a_wrong_setting_of_training_is_one_line_with_its_key(bundle, key, value):
    names = "|".join({key.split("::")[0], key.split("::")[-1]})  # a corruption names its own argument
    with raises_user_error(f"^({names}): "):
        check(bundle, ["train"], **{key: value})


@pytest.mark.parametrize(
    ("bundle", "configs", "key", "value"),
    [(bundle, configs, key, one) for bundle, configs, wrong in OTHER for key in wrong for one in wrong[key]],
)
def test_a_wrong_setting_of_another_config_is_one_line(bundle, configs, key, value):
    with raises_user_error(r"^\w+(, \w+)*: "):  # an entry may be missing in several
        check(bundle, configs, **{key: value})


@pytest.mark.parametrize(
    ("bundle", "name"),
    [(PRETRAINING, "prepare"), *((bundle, name) for bundle in BUNDLES for name in ("train", "inference"))],
)
def test_a_root_named_by_a_number_is_text(bundle, name):
    parser = ConfigParser(copy.deepcopy(content(bundle, (name,))))
    parser["bundle_root"] = 20240101
    check(bundle, [name], bundle_root=20240101)
    folders = {key: parser.get_parsed_content(key) for key in FOLDERS if key in parser}
    assert "dataset_dir" in folders
    assert all(str(folder).startswith("20240101/") for folder in folders.values()), folders


@pytest.mark.parametrize("bundle", BUNDLES)
def test_an_output_folder_that_is_a_file_is_named_before_anything_runs(bundle, tmp_path):
    (tmp_path / "file").write_text("")
    flow = workflow(bundle, "inference", output_dir=str(tmp_path / "file" / "results"))
    with raises_user_error("^output_dir: .*/file/results cannot be made"):
        flow.initialize()


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("configs", [["train"], ["train", "evaluate"], ["inference"], ["prepare"]])
def test_every_key_that_users_set_is_checked(bundle, configs):
    if configs == ["prepare"] and bundle != PRETRAINING:
        pytest.skip("pre-training alone prepares cubes")
    config = content(bundle, tuple(configs))
    users = set(USER_KEYS) - {"rank", "world_size"}
    users -= {"num_workers"} if configs == ["prepare"] else set()  # null there is one for each core
    assert not set(config.get("settings", {})) & set(config["checked"])
    checked = {*config.get("settings", {}), *config["checked"]}
    assert set(config) & users <= checked | set(config.get("recipe", {}))  # `Recipe` checks its own
    for key in checked & set(config) & users - {"schedule", "schedule_shares"}:  # which several keys check together
        assert key in CHECKS, key
