# SPDX-License-Identifier: Apache-2.0
"""Misspelled settings of `python -m monai.bundle run`, by the one line that names the nearest known key."""

from __future__ import annotations

import json
import re

import pytest
from conftest import REPOSITORY
from task_bundles import BUNDLES, PRETRAINING

from universal_model_components.utils.command_line import check_command_line

BTS, LNC = "brats_mri_whole_tumor_segmentation", "lung_nodule_ct_classification"


def command(bundle, configs, *options):
    folder = REPOSITORY / "bundles" / bundle / "configs"
    return ["run", "--config_file", str([str(folder / f"{name}.json") for name in configs]), *options]


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        (["--epoch", "3"], "--epoch (did you mean --epochs?)"),
        (["--featuers", "[4,8]"], "--featuers (did you mean --features?)"),
        (["--featuers=[4,8]"], "--featuers (did you mean --features?)"),
        (["--learningrate", "0.1"], "--learningrate (did you mean --learning_rate?)"),
        (["--pretrained_weight", "a.pt"], "--pretrained_weight (did you mean --pretrained_weights?)"),
        (["--spacings", "[1,1,1]"], "--spacings (did you mean --spacing?)"),
        (["--noresumed"], "--resumed (did you mean --resume?)"),
        (["--early_stoping_patience", "3"], "did you mean --early_stopping_patience?"),
        (["--nestorov", "1"], "--nestorov"),
        (["--train::trainer::max_epoch", "3"], "did you mean --train::trainer::max_epochs?"),
        (["--optimizer::weight_dekay", "3"], "did you mean --optimizer::weight_decay?"),
        (["--train::datasets", "3"], "did you mean --train::dataset?"),
        (["--train::handlers::0::print_lrr", "1"], "did you mean --train::handlers::0::print_lr?"),
        (["--train::handlers::99::print_lr", "1"], "--train::handlers::99::print_lr"),
        (["--log_dir", "a"], "--log_dir (did you mean --summary_writer::log_dir?)"),
        (["--experiment_name", "a"], "--experiment_name"),  # of --tracking, which is not given
        (["--epoch", "3", "--seeds", "1"], "--epoch (did you mean --epochs?), --seeds (did you mean --seed?)"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest_known_one(option, advice):
    with pytest.raises(ValueError, match=f"^unknown settings: .*{re.escape(advice)}") as caught:
        check_command_line(command(BTS, ["train"], *option))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("configs", [["train"], ["train", "evaluate"], ["train", "multi_gpu_train"], ["inference"]])
def test_every_command_of_every_bundle_refuses_a_misspelled_key(bundle, configs):
    check_command_line(command(bundle, configs, "--batch-size", "4", "--features", "[4,8]"))
    with pytest.raises(ValueError, match=r"--batch_sise \(did you mean --batch_size\?\)"):
        check_command_line(command(bundle, configs, "--batch-sise", "4"))


@pytest.mark.parametrize(
    ("configs", "options"),
    [
        (["train"], ["--optimizer::nesterov", "true", "--train::trainer::event_names", "[]"]),  # of a base class
        (
            ["train"],
            ["--train::handlers#0#print_lr", "true", "--learning_rate::unet", "1", "--recorder::_disabled_", "1"],
        ),
        (["train"], ["--validate::additional_metrics::mine", "{'_target_': 'ignite.metrics.Accuracy'}"]),
        (["train"], ["--optimizer::betas", "[0.9,0.99]", "--optimizer::_target_", "torch.optim.AdamW"]),
        (["train"], ["--rate", "0.1", "--optimizer::lr", "@rate"]),
        (["train"], ["--+imports", "['$import os']", "--_meta_::version", "2", "--run_id", "run"]),
        (["train"], ["--tracking", "mlflow", "--experiment_name", "a", "--save_execute_config", "false"]),
        (["train", "modern"], ["--optimizer::weight_decay", "0", "--schedule::epochs", "3"]),
        (["train", "evaluate"], ["--probe_cubes", "3", "--split", "training"]),
        (["prepare"], ["--plan", "true", "--recipe::seed", "1", "--cubes_per_volume", "{'large':2}"]),
    ],
)
def test_what_is_known_or_taken_by_a_component_passes(configs, options):
    check_command_line(command(PRETRAINING, configs, *options))


def test_overlays_bring_keys_of_their_own(tmp_path):
    check_command_line(command(BTS, ["train", "systems/i3d"], "--width", "8"))
    with pytest.raises(ValueError, match="--width"):
        check_command_line(command(BTS, ["train"], "--width", "8"))
    (tmp_path / "own.json").write_text(json.dumps({"mine": 1}))
    files = [str(REPOSITORY / "bundles" / BTS / "configs/train.json"), str(tmp_path / "own.json")]
    check_command_line(["run_workflow", "--config_file", str(files), "--mine", "2", "--workflow_type", "train"])


def test_a_file_of_arguments_is_checked_too(tmp_path):
    config = str(REPOSITORY / "bundles" / LNC / "configs/train.json")
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"config_file": config, "epoch": 3}))
    with pytest.raises(ValueError, match="did you mean --epochs"):
        check_command_line(["run", "--args_file", str(arguments)])
    arguments.write_text(json.dumps({"config_file": config, "epochs": 3}))
    check_command_line(["run", "--args_file", str(arguments)])


@pytest.mark.parametrize(
    ("text", "number"), [("2024_01", "202401"), ("1e5", "100000.0"), ("0x10", "16"), ("1.10", "1.1")]
)
def test_a_folder_that_the_command_line_reads_as_another_number_is_named(text, number):
    with pytest.raises(ValueError, match=rf"^bundle_root: .* {text} as the number {number}: write \./{text}$"):
        check_command_line(command(BTS, ["train"], "--bundle_root", text))


def test_other_processes_and_commands_are_left_alone():
    check_command_line(command(BTS, ["train"], "--bundle_root", "20240101", "--output_dir", "./1e5"))
    check_command_line(["onnx_export", "--epoch", "3"])
    check_command_line()  # pytest's own command line
