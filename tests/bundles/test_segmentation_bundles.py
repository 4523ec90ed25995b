# SPDX-License-Identifier: Apache-2.0
"""The segmentation bundles from scans to masks: trained for a few steps on synthetic cases, resumed, and used."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from public_sets import write_brats2018, write_mmwhs
from task_bundles import FEATURES, SEGMENTATION, rows, run, workflow, write_segmentation_data
from user_errors import raises_user_error

from universal_model_components.datalists.public.brats2018 import brats2018
from universal_model_components.datalists.public.mmwhs import mmwhs
from universal_model_components.method.models import SegmentationModel, UniversalModel

BTS, LAS_CT, LAS_MRI = SEGMENTATION
SMALL = {"patch_size": [16, 16, 8], "spacing": [8.0, 8.0, 8.0], "batch_size": 4, "cubes_per_case": 2}
SMALL["image_interval"] = 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each bundle a folder of synthetic cases, drawn when it is first asked for."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = write_segmentation_data(tmp_path_factory.mktemp("cases"), task)
        return str(made[task])

    return get


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    """For each bundle the folder of a run of two epochs."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("trained")
            run(task, "train", bundle_root=str(made[task]), dataset_dir=folders(task), epochs=2, **SMALL)
        return made[task]

    return get


def model(root):
    return torch.load(root / "models" / "model.pt", weights_only=True)


def checkpoint(root):
    return torch.load(root / "models" / "checkpoint.pt", weights_only=True)["network"]


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("task", SEGMENTATION)
def test_properties_are_complete(task, folders, trained, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": folders(task), **SMALL}
    flow = workflow(task, "train", **settings)
    flow.initialize()
    assert flow.check_properties() == []
    settings["pretrained_weights"] = str(trained(task) / "models" / "model.pt")
    flow = workflow(task, "train", "evaluate", **settings)
    flow.initialize()
    assert flow.check_properties() == []
    inference = {key: value for key, value in settings.items() if key not in ("cubes_per_case", "image_interval")}
    flow = workflow(task, "inference", **inference)
    flow.initialize()
    assert flow.check_properties() == []


@pytest.mark.parametrize("task", SEGMENTATION)
def test_training_leaves_a_model_and_its_record(task, trained):
    root = trained(task)
    record = rows(root / "output" / "losses.csv")
    assert [row["epoch"] for row in record] == ["1", "2"]
    assert float(record[0]["lr"]) == 0.001
    for name in ("loss", "train_iou", "val_iou", "val_dice"):
        assert 0 <= float(record[-1][name]) <= 1
    SegmentationModel(features=FEATURES).load_state_dict(model(root), strict=True)
    assert list((root / "output" / "tensorboard").iterdir())
    assert [file.name for file in (root / "output" / "panels").iterdir()] == ["epoch_0002.png"]


def test_training_learns(folders, tmp_path):
    settings = {"spacing": [6.0, 6.0, 6.0], "patch_size": [16, 16, 16], "batch_size": 4, "cubes_per_case": 8}
    settings |= {"epochs": 20, "val_interval": 20, "image_interval": 0, "learning_rate": 0.01, "label_fraction": 0.7}
    settings["augmentation"] = dict.fromkeys(("flip", "transpose", "noise", "noise_std"), 0.0)
    run(LAS_CT, "train", bundle_root=str(tmp_path), dataset_dir=folders(LAS_CT), **settings)
    first, *_, last = rows(tmp_path / "output" / "losses.csv")
    assert float(last["loss"]) < float(first["loss"]) - 0.1
    assert float(last["train_iou"]) > max(0.15, 2 * float(first["train_iou"]))


@pytest.mark.parametrize("task", SEGMENTATION)
def test_masks_come_back_on_the_grid_of_the_scan(task, folders, trained, tmp_path):
    settings = {key: value for key, value in SMALL.items() if key not in ("cubes_per_case", "image_interval")}
    weights = str(trained(task) / "models" / "model.pt")
    data, out = folders(task), tmp_path / "eval"
    run(
        task,
        "inference",
        bundle_root=str(tmp_path),
        dataset_dir=f"{data}/images",
        pretrained_weights=weights,
        **settings,
    )
    files = sorted((REPOSITORY / data / "images").iterdir())
    assert len(files) == len(list(out.iterdir())) == 6
    for file in files:
        scan, mask = nibabel.load(file), nibabel.load(out / f"{file.name.split('.')[0]}_seg.nii.gz")
        assert mask.shape == scan.shape
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)
        assert mask.get_data_dtype() == np.uint8
        assert set(np.unique(mask.dataobj)) <= {0, 1}


@pytest.mark.parametrize("task", SEGMENTATION)
def test_evaluation_scores_each_held_out_case(task, folders, trained, tmp_path):
    weights = str(trained(task) / "models" / "model.pt")
    settings = {"dataset_dir": folders(task), "pretrained_weights": weights, **SMALL}
    run(task, "train", "evaluate", bundle_root=str(tmp_path), **settings)
    record = rows(tmp_path / "output" / "evaluation.csv")
    assert [row["case"] for row in record] == ["case_4", "case_5"]
    summary = json.loads((tmp_path / "output" / "evaluation.json").read_text())
    scored = [float(row["iou"]) for row in record if row["iou"]]
    assert summary["iou"]["mean"] == pytest.approx(np.mean(scored))
    for row in record:  # counted on the scan's own grid
        label = nibabel.load(REPOSITORY / folders(task) / "labels" / f"{row['case']}.nii.gz")
        milliliters = np.count_nonzero(label.dataobj) * abs(np.linalg.det(label.affine[:3, :3])) / 1000
        assert float(row["reference_ml"]) == pytest.approx(milliliters, rel=1e-3)
    assert list((tmp_path / "output" / "overlays").iterdir())


def test_evaluation_ends_in_one_line(folders, trained, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": folders(BTS), **SMALL}
    with raises_user_error(r"no file .*model\.pt: train"):
        run(BTS, "train", "evaluate", **settings)
    weights = str(trained(BTS) / "models" / "model.pt")
    with raises_user_error("has no 'holdout' cases"):
        run(BTS, "train", "evaluate", pretrained_weights=weights, split="holdout", **settings)


def test_only_the_largest_component_is_kept(folders, trained, tmp_path):
    settings = {key: value for key, value in SMALL.items() if key not in ("cubes_per_case", "image_interval")}
    settings |= {"threshold": 0.4, "datalist": f"{folders(BTS)}/datalist.json", "largest_component": "true"}
    weights = str(trained(BTS) / "models" / "model.pt")
    run(BTS, "inference", bundle_root=str(tmp_path), dataset_dir=folders(BTS), pretrained_weights=weights, **settings)
    from scipy.ndimage import generate_binary_structure, label

    files = list((tmp_path / "eval" / "images").iterdir())
    assert len(files) == 2  # the datalist's test cases
    for file in files:
        assert label(np.asarray(nibabel.load(file).dataobj), generate_binary_structure(3, 3))[1] <= 1


def test_a_resumed_run_ends_like_one_in_one_piece(folders, tmp_path):
    settings = {"dataset_dir": folders(BTS), "early_stopping_patience": 5, **SMALL}
    run(BTS, "train", bundle_root=str(tmp_path / "whole"), epochs=3, **settings)
    run(BTS, "train", bundle_root=str(tmp_path / "parts"), epochs=1, **settings)
    torch.rand(7)  # whatever happens in between
    run(BTS, "train", bundle_root=str(tmp_path / "parts"), epochs=3, resume="true", **settings)
    assert_same(model(tmp_path / "whole"), model(tmp_path / "parts"))
    assert_same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    whole, parts = (rows(tmp_path / name / "output" / "losses.csv") for name in ("whole", "parts"))
    assert [{**row, "seconds": ""} for row in whole] == [{**row, "seconds": ""} for row in parts]


def test_the_seed_decides_and_workers_do_not(folders, tmp_path):
    settings = {"dataset_dir": folders(BTS), "epochs": 1, **SMALL}
    for name, changes in (("a", {}), ("b", {"num_workers": 2}), ("c", {"seed": 1})):
        run(BTS, "train", bundle_root=str(tmp_path / name), **{**settings, **changes})
    assert_same(checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b"))
    assert any(
        not torch.equal(value, checkpoint(tmp_path / "c")[name]) for name, value in checkpoint(tmp_path / "a").items()
    )


def test_it_starts_from_pretrained_weights(folders, tmp_path, capfd):
    source = UniversalModel(features=FEATURES)
    torch.save(source.state_dict(), tmp_path / "pretrained.pt")
    settings = {"dataset_dir": folders(BTS), "bundle_root": str(tmp_path), **SMALL}
    flow = workflow(BTS, "train", pretrained_weights=str(tmp_path / "pretrained.pt"), **settings)
    flow.initialize()
    own = flow.network_def.state_dict()
    assert all(
        torch.equal(own[name], value) for name, value in source.state_dict().items() if name.startswith("encoder")
    )
    assert torch.equal(own["decoder.levels.0.up.weight"], source.decoder.levels[0].up.weight)
    assert all(parameter.requires_grad for parameter in flow.network_def.parameters())


def test_a_checkpoint_of_another_width_is_named_in_one_line(folders, tmp_path):
    torch.save(UniversalModel(features=[8, 16, 32, 64]).state_dict(), tmp_path / "wide.pt")
    settings = {"dataset_dir": folders(BTS), "bundle_root": str(tmp_path), **SMALL}
    flow = workflow(BTS, "train", pretrained_weights=str(tmp_path / "wide.pt"), **settings)
    with raises_user_error(r"wide\.pt"):
        flow.initialize()


def test_without_pretrained_weights_the_log_says_from_scratch(folders, tmp_path, caplog):
    flow = workflow(BTS, "train", bundle_root=str(tmp_path), dataset_dir=folders(BTS), **SMALL)
    with caplog.at_level(logging.INFO):
        flow.initialize()
    assert "from scratch" in caplog.text


def test_drawing_cubes_leaves_the_kept_volumes_as_they_are(folders, tmp_path):
    flow = workflow(BTS, "train", bundle_root=str(tmp_path), dataset_dir=folders(BTS), **SMALL)
    flow.initialize()
    data = flow.train_dataset
    before = [{key: case[key].clone() for key in ("image", "label")} for case in data._cache]
    cubes = [data[(seed, seed)][0] for seed in range(40)]
    for case, kept in zip(data._cache, before, strict=True):
        assert all(torch.equal(case[key], kept[key]) for key in kept)
    assert all(cube["image"].shape == cube["label"].shape == (1, 16, 16, 8) for cube in cubes)
    assert {bool(cube["label"].any()) for cube in cubes} == {True, False}


def test_label_noise_changes_training_masks_alone(folders, tmp_path, caplog):
    settings = {"dataset_dir": folders(LAS_CT), **SMALL, "spacing": [3.0, 3.0, 3.0], "label_noise": 6}
    flow = workflow(LAS_CT, "train", bundle_root=str(tmp_path), **settings)
    flow.initialize()
    noisy = flow.train_dataset._cache[0]["label"].sum()
    settings["label_noise"] = 0
    clean_flow = workflow(LAS_CT, "train", bundle_root=str(tmp_path), **settings)
    clean_flow.initialize()
    assert noisy != clean_flow.train_dataset._cache[0]["label"].sum()
    assert torch.equal(flow.val_dataset[0]["label"], clean_flow.val_dataset[0]["label"])


def test_label_fraction_trains_on_fewer(folders, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": folders(BTS), "label_fraction": 0.3, **SMALL}
    flow = workflow(BTS, "train", **settings)
    flow.initialize()
    assert len(flow.train_dataset) == 1
    assert len(flow.val_dataset) == 1


@pytest.mark.parametrize("task", SEGMENTATION)
def test_a_public_data_set_becomes_a_datalist_that_the_bundle_reads(task, tmp_path):
    small = {"shape": (16, 16, 12)}
    if task == BTS:
        write_brats2018(tmp_path, hgg=6, lgg=4, **small)
        brats2018(str(tmp_path), str(tmp_path / "datalist.json"), stage="finetuning", allow_partial=True, num_workers=0)
    else:
        write_mmwhs(tmp_path, ct=6, mr=6, **small)
        modality = "ct" if task == LAS_CT else "mri"
        mmwhs(str(tmp_path), str(tmp_path / "datalist.json"), modality, allow_partial=True, num_workers=0)
    settings = {**SMALL, "spacing": [2.0, 2.0, 2.0], "dataset_dir": str(tmp_path), "epochs": 1}
    run(task, "train", bundle_root=str(tmp_path / "run"), **settings)
    assert np.isfinite(float(rows(tmp_path / "run" / "output" / "losses.csv")[0]["val_iou"]))


def test_a_moved_bundle_runs_from_any_directory(folders, tmp_path):
    moved = tmp_path / "moved bundle"
    shutil.copytree(REPOSITORY / "bundles" / LAS_MRI, moved)
    command_line(moved, "['train.json']", "--bundle_root", str(moved), "--dataset_dir", folders(LAS_MRI))
    assert model(moved)


def test_several_processes_train_together(folders, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    bundle, options = (
        REPOSITORY / "bundles" / LAS_CT,
        ["--bundle_root", str(tmp_path), "--dataset_dir", folders(LAS_CT)],
    )
    command_line(bundle, "['train.json','multi_gpu_train.json']", *options, launcher=launcher)
    (record,) = rows(tmp_path / "output" / "losses.csv")
    assert record["step"] == "1"  # six cubes in one step: two processes with four each
    assert 0 <= float(record["val_iou"]) <= 1
    SegmentationModel(features=FEATURES).load_state_dict(model(tmp_path), strict=True)


def command_line(bundle, configs, *options, launcher=()):
    """One epoch by the command that users type, from another directory, without any weights to start from."""
    configs = configs.replace("['", f"['{bundle}/configs/").replace(",'", f",'{bundle}/configs/")
    line = [sys.executable, *launcher, "-m", "monai.bundle", "run", "--config_file", configs, *options]
    line += ["--epochs", "1", "--num_workers", "0", "--features", str(FEATURES), "--label_values", "[420]"]
    line += [item for key, value in SMALL.items() for item in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "from scratch" in result.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        [{"datalist": "/nowhere.json"}, "datalist: cannot read /nowhere.json"],
        [{"amp": "maybe"}, "^amp: 'maybe' is not a boolean: give true or false"],
        [{"intensity_range": [0]}, r"^intensity_range: \[0\] is neither \[low, high\] nor null"],
        [{"label_fraction": 2}, "label_fraction: 2 is not above 0 and up to 1"],
        [{"label_values": [1]}, r"^/.*case_0.nii.gz: label value 4 in \d+ voxels, expected \[0, 1\]"],
        [
            {"label_values": [1], "cache_rate": 0, "num_workers": 1},
            r"^/.*case_\d.nii.gz: label value 4 in \d+ voxels, expected \[0, 1\]",
        ],
        [{"val_interval": 5, "epochs": 2}, "^val_interval 5 is more than the 2 epochs"],
    ],
)
def test_mistakes_end_in_one_line(folders, tmp_path, settings, message):
    with raises_user_error(message):
        run(BTS, "train", bundle_root=str(tmp_path), dataset_dir=folders(BTS), **{**SMALL, **settings})


def test_a_training_case_without_foreground_is_no_obstacle(folders, tmp_path):
    content = json.loads((REPOSITORY / folders(BTS) / "datalist.json").read_text())
    label = nibabel.load(f"{folders(BTS)}/labels/case_0.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), tmp_path / "empty.nii.gz")
    content["training"][0]["label"] = str(tmp_path / "empty.nii.gz")
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    settings = {"dataset_dir": folders(BTS), "datalist": str(tmp_path / "datalist.json"), **SMALL}
    run(BTS, "train", bundle_root=str(tmp_path), epochs=1, **settings)
    assert np.isfinite(float(rows(tmp_path / "output" / "losses.csv")[0]["loss"]))


def test_no_validation_case_is_named(folders, tmp_path):
    content = json.loads((REPOSITORY / folders(BTS) / "datalist.json").read_text())
    (tmp_path / "datalist.json").write_text(json.dumps({**content, "validation": []}))
    with raises_user_error("has no 'validation' cases"):
        run(
            BTS,
            "train",
            bundle_root=str(tmp_path),
            dataset_dir=folders(BTS),
            datalist=str(tmp_path / "datalist.json"),
            **SMALL,
        )


@pytest.fixture
def damaged(folders, tmp_path):
    """Cases of which the first to train on and the first to test on are cut, beside a mask that is a web page."""
    shutil.copytree(folders(BTS), tmp_path / "cases")
    for number in (0, 4):
        file = tmp_path / f"cases/images/case_{number}.nii.gz"
        file.write_bytes(file.read_bytes()[:-3000])
    (tmp_path / "cases/labels/case_1.nii.gz").write_text("<html>not found</html>")
    return tmp_path / "cases"


@pytest.mark.parametrize("workers", [0, 2])
def test_inference_and_evaluation_name_and_skip_what_cannot_be_read(workers, damaged, trained, tmp_path, capsys):
    settings = {"dataset_dir": str(damaged), "num_workers": workers, "bundle_root": str(tmp_path)}
    settings["pretrained_weights"] = str(trained(BTS) / "models" / "model.pt")
    listed = {**settings, "datalist": str(damaged / "datalist.json")}
    own = {key: value for key, value in SMALL.items() if key not in ("cubes_per_case", "image_interval")}
    run(BTS, "inference", **listed, **own)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "1 of 2 scans segmented, 1 skipped"
    assert re.match(r"skipped: .*case_4\.nii\.gz: ", lines[-2])
    assert [file.name for file in (tmp_path / "eval").rglob("*.nii.gz")] == ["case_5_seg.nii.gz"]
    run(BTS, "train", "evaluate", **settings, **SMALL)
    record = {row["case"]: row for row in rows(tmp_path / "output" / "evaluation.csv")}
    summary = json.loads((tmp_path / "output" / "evaluation.json").read_text())
    assert (summary["cases"], summary["unusable"]) == (1, 1)
    assert record["case_4"]["iou"] == ""
    assert "case_4.nii.gz: " in record["case_4"]["reason"]
    assert {"case": "case_4", "reason": record["case_4"]["reason"]} in summary["not_scored"]
    (damaged / "images/case_5.nii.gz").unlink()
    with raises_user_error(r"^2 of 2 cases cannot be used: .*case_4\.nii\.gz: .*; .*case_5\.nii\.gz: no such file"):
        run(BTS, "train", "evaluate", **settings, **SMALL)
    with raises_user_error("^2 of 2 scans skipped, listed above, and none is left"):
        run(BTS, "inference", **listed, **own)


def test_training_names_every_bad_file_before_its_first_epoch(damaged, tmp_path):
    settings = {"dataset_dir": str(damaged), "bundle_root": str(tmp_path), **SMALL}
    with raises_user_error(r"labels/case_1\.nii\.gz"):  # by its header
        run(BTS, "train", **settings)
    shutil.copy(damaged / "labels/case_2.nii.gz", damaged / "labels/case_1.nii.gz")
    content = json.loads((damaged / "datalist.json").read_text())
    content["training"] = [entry for entry in content["training"] if entry["case"] != "case_1"]
    (damaged / "datalist.json").write_text(json.dumps(content))
    for rate in (0.0, 1.0):
        with raises_user_error(r"^1 of 2 cases cannot be used: .*images/case_0\.nii\.gz: unreadable"):
            run(BTS, "train", cache_rate=rate, **settings)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("split", ["training", "validation"])
def test_masks_that_are_empty_everywhere(split, folders, tmp_path, caplog):
    shutil.copytree(folders(BTS), tmp_path / "cases")
    for entry in json.loads((tmp_path / "cases/datalist.json").read_text())[split]:
        mask = nibabel.load(tmp_path / "cases" / entry["label"])
        nibabel.save(nibabel.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), mask.get_filename())
    settings = {"dataset_dir": str(tmp_path / "cases"), "bundle_root": str(tmp_path / "run"), "epochs": 2, **SMALL}
    if split == "training":
        with raises_user_error("^label_values: none of the 3 training masks has foreground"):
            run(BTS, "train", **settings)
        return
    run(BTS, "train", **settings)
    assert "none of the 1 validation masks has foreground" in caplog.text
    assert [row["val_iou"] for row in rows(tmp_path / "run/output/losses.csv")] == ["nan", "nan"]
    provenance = json.loads((tmp_path / "run/models/model.provenance.json").read_text())
    assert (provenance["epoch"], provenance["metrics"]["val_iou"]) == (2, None)


def test_masks_of_scans_elsewhere_stay_in_the_output_folder(folders, trained, tmp_path):
    for site in ("site_a", "site_b"):
        shutil.copytree(f"{folders(BTS)}/images", tmp_path / site)
    entries = [{"image": str(tmp_path / site / "case_0.nii.gz")} for site in ("site_a", "site_b")]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/list.json").write_text(json.dumps({"test": entries}))
    own = {key: value for key, value in SMALL.items() if key not in ("cubes_per_case", "image_interval")}
    own["pretrained_weights"] = str(trained(BTS) / "models" / "model.pt")
    places = {"dataset_dir": str(tmp_path / "lists"), "datalist": str(tmp_path / "lists/list.json")}
    run(BTS, "inference", bundle_root=str(tmp_path / "run"), **places, **own)
    masks = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*_seg.nii.gz"))
    assert masks == ["run/eval/site_a/case_0_seg.nii.gz", "run/eval/site_b/case_0_seg.nii.gz"]
