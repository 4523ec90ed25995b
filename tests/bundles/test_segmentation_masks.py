# SPDX-License-Identifier: Apache-2.0
"""Masks of the segmentation bundles: in each scan's native image space, cleaned if asked for, and scored."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
from scipy.ndimage import generate_binary_structure, label
from task_bundles import SEGMENTATION, read_json, rows

BTS = next(iter(SEGMENTATION))


@pytest.mark.parametrize("task", SEGMENTATION)
def test_masks_come_back_on_the_grid_of_the_scan(task, small, tmp_path):
    images, out = small.data(task) / "images", tmp_path / "eval"
    small.run(task, "inference", dataset_dir=images)
    files = sorted(images.iterdir())
    assert len(files) == len(list(out.iterdir())) == 6
    for file in files:
        scan, mask = nibabel.load(file), nibabel.load(out / f"{file.name.split('.')[0]}_seg.nii.gz")
        assert mask.shape == scan.shape
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)
        assert mask.get_data_dtype() == np.uint8
        assert set(np.unique(mask.dataobj)) <= {0, 1}


@pytest.mark.parametrize("task", SEGMENTATION)
def test_evaluation_scores_each_held_out_case(task, small, tmp_path):
    small.run(task, "train", "evaluate")
    record = rows(tmp_path / "output" / "evaluation.csv")
    assert [row["case"] for row in record] == ["case_4", "case_5"]
    summary = read_json(tmp_path / "output" / "evaluation.json")
    scored = [float(row["iou"]) for row in record if row["iou"]]
    assert summary["iou"]["mean"] == pytest.approx(np.mean(scored))
    for row in record:  # counted on the scan's own grid
        mask = nibabel.load(small.data(task) / "labels" / f"{row['case']}.nii.gz")
        milliliters = np.count_nonzero(mask.dataobj) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
        assert float(row["reference_ml"]) == pytest.approx(milliliters, rel=1e-3)
    assert list((tmp_path / "output" / "overlays").iterdir())


def test_only_the_largest_component_is_kept(small, tmp_path):
    datalist = small.data(BTS) / "datalist.json"
    small.run(BTS, "inference", threshold=0.4, datalist=datalist, largest_component="true")
    files = list((tmp_path / "eval" / "images").iterdir())
    assert len(files) == 2  # the datalist's test cases
    for file in files:
        assert label(np.asarray(nibabel.load(file).dataobj), generate_binary_structure(3, 3))[1] <= 1


def test_masks_of_scans_elsewhere_stay_in_the_output_folder(small, tmp_path):
    sites = [shutil.copytree(small.data(BTS) / "images", tmp_path / site) for site in ("site_a", "site_b")]
    (tmp_path / "lists").mkdir()
    datalist = tmp_path / "lists" / "list.json"
    datalist.write_text(json.dumps({"test": [{"image": str(site / "case_0.nii.gz")} for site in sites]}))
    small.run(BTS, "inference", bundle_root=tmp_path / "run", dataset_dir=tmp_path / "lists", datalist=datalist)
    masks = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*_seg.nii.gz"))
    assert masks == ["run/eval/site_a/case_0_seg.nii.gz", "run/eval/site_b/case_0_seg.nii.gz"]
