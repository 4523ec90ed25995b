# SPDX-License-Identifier: Apache-2.0
"""Training of the segmentation bundles: which cubes and masks it sees, and cases without foreground."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pytest
import torch
from public_sets import write_brats2018, write_mmwhs
from task_bundles import SEGMENTATION, assert_same, change_datalist, checkpoint, read_json, rows
from user_errors import raises_user_error

from universal_model_components.datalists.public.brats2018 import brats2018
from universal_model_components.datalists.public.mmwhs import mmwhs
from universal_model_components.method.models import UniversalModel

BTS, LAS_CT, _ = SEGMENTATION


def test_training_learns(small, tmp_path):
    settings = {"spacing": [6.0, 6.0, 6.0], "patch_size": [16, 16, 16], "cubes_per_case": 8}
    settings |= {"epochs": 20, "val_interval": 20, "image_interval": 0, "learning_rate": 0.01, "label_fraction": 0.7}
    settings["augmentation"] = dict.fromkeys(("flip", "transpose", "noise", "noise_std"), 0.0)
    small.run(LAS_CT, "train", **settings)
    first, *_, last = rows(tmp_path / "output" / "losses.csv")
    assert float(last["loss"]) < float(first["loss"]) - 0.1
    assert float(last["train_iou"]) > max(0.15, 2 * float(first["train_iou"]))


def test_the_seed_decides_and_workers_do_not(small, tmp_path):
    for name, changes in (("a", {}), ("b", {"num_workers": 2}), ("c", {"seed": 1})):
        small.run(BTS, "train", bundle_root=tmp_path / name, epochs=1, **changes)
    first, second, other = (checkpoint(tmp_path / name) for name in ("a", "b", "c"))
    assert_same(first, second)
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_a_checkpoint_of_another_width_is_named_in_one_line(small, tmp_path):
    torch.save(UniversalModel(features=[8, 16, 32, 64]).state_dict(), tmp_path / "wide.pt")
    with raises_user_error(r"wide\.pt"):
        small.initialize(BTS, "train", pretrained_weights=tmp_path / "wide.pt")


def test_drawing_cubes_leaves_the_kept_volumes_as_they_are(small):
    data = small.initialize(BTS, "train").train_dataset
    before = [{key: case[key].clone() for key in ("image", "label")} for case in data._cache]
    cubes = [data[(seed, seed)][0] for seed in range(40)]
    for case, kept in zip(data._cache, before, strict=True):
        assert all(torch.equal(case[key], kept[key]) for key in kept)
    assert all(cube["image"].shape == cube["label"].shape == (1, 16, 16, 8) for cube in cubes)
    assert {bool(cube["label"].any()) for cube in cubes} == {True, False}


def test_label_noise_changes_training_masks_alone(small):
    noisy, clean = (
        small.initialize(LAS_CT, "train", spacing=[3.0, 3.0, 3.0], label_noise=severity) for severity in (6, 0)
    )
    assert noisy.train_dataset._cache[0]["label"].sum() != clean.train_dataset._cache[0]["label"].sum()
    assert torch.equal(noisy.val_dataset[0]["label"], clean.val_dataset[0]["label"])


def test_label_noise_leaves_a_table_and_a_picture(small, trained_task, tmp_path):
    small.run(LAS_CT, "train", label_noise=6, epochs=1)
    assert {"label_noise.csv", "label_noise.png"} <= {file.name for file in (tmp_path / "output").iterdir()}
    assert not list((trained_task(LAS_CT) / "output").glob("label_noise.*"))


def test_label_fraction_trains_on_fewer(small):
    flow = small.initialize(BTS, "train", label_fraction=0.3)
    assert len(flow.train_dataset) == 1
    assert len(flow.val_dataset) == 1


@pytest.mark.parametrize("task", SEGMENTATION)
def test_a_public_data_set_becomes_a_datalist_that_the_bundle_reads(task, small, tmp_path):
    shape, given = (16, 16, 12), {"allow_partial": True, "num_workers": 0}
    if task == BTS:
        write_brats2018(tmp_path, hgg=6, lgg=4, shape=shape)
        brats2018(str(tmp_path), str(tmp_path / "datalist.json"), stage="finetuning", **given)
    else:
        write_mmwhs(tmp_path, ct=6, mr=6, shape=shape)
        mmwhs(str(tmp_path), str(tmp_path / "datalist.json"), "ct" if task == LAS_CT else "mri", **given)
    root = tmp_path / "run"
    small.run(task, "train", bundle_root=root, dataset_dir=tmp_path, spacing=[2.0, 2.0, 2.0], epochs=1)
    assert np.isfinite(float(rows(root / "output" / "losses.csv")[0]["val_iou"]))


def empty(mask, file):
    """Write a mask without foreground on the same grid."""
    mask = nibabel.load(mask)
    nibabel.save(nibabel.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), file)


def test_a_training_case_without_foreground_is_no_obstacle(small, tmp_path):
    data, file = small.data(BTS), tmp_path / "empty.nii.gz"
    empty(data / "labels/case_0.nii.gz", file)
    datalist = change_datalist(data, tmp_path, lambda content: content["training"][0].update(label=str(file)))
    small.run(BTS, "train", datalist=datalist, epochs=1)
    assert np.isfinite(float(rows(tmp_path / "output" / "losses.csv")[0]["loss"]))


def test_no_validation_case_is_named(small, tmp_path):
    datalist = change_datalist(small.data(BTS), tmp_path, lambda content: content.update(validation=[]))
    with raises_user_error("has no 'validation' cases"):
        small.run(BTS, "train", datalist=datalist)


@pytest.mark.parametrize("split", ["training", "validation"])
def test_masks_that_are_empty_everywhere(split, small, tmp_path, caplog):
    cases, root = shutil.copytree(small.data(BTS), tmp_path / "cases"), tmp_path / "run"
    for entry in read_json(cases / "datalist.json")[split]:
        empty(cases / entry["label"], cases / entry["label"])
    settings = {"dataset_dir": cases, "bundle_root": root, "epochs": 2}
    if split == "training":
        with raises_user_error("^label_values: none of the 3 training masks has foreground"):
            small.run(BTS, "train", **settings)
        return
    small.run(BTS, "train", **settings)
    assert "none of the 1 validation masks has foreground" in caplog.text
    assert [row["val_iou"] for row in rows(root / "output/losses.csv")] == ["nan", "nan"]
    provenance = read_json(root / "models/model.provenance.json")
    assert (provenance["epoch"], provenance["metrics"]["val_iou"]) == (2, None)
