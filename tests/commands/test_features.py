# SPDX-License-Identifier: Apache-2.0
"""The command `features`: the numbers of the bundle's inference, in one table."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from devices import DEVICE
from scan_files import make_dataset
from task_bundles import FEATURES, PRETRAINING, run
from user_errors import raises_user_error

from universal_model_components.commands.features import features
from universal_model_components.inference.feature_table import feature_names
from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.provenance import complete, write_weights

RECIPE = {
    "spacing": [2.0, 2.0, 2.0],
    "patch_size": [16, 16, 16],
    "intensity_range": {"ct": [-1000, 1000], "mri": [0, 4000]},
    "intensity_scale": {"ct": "range", "mri": "volume"},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(5)
    state = UniversalModel(features=FEATURES).state_dict()
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    write_weights(file, state, complete({"features": FEATURES, **RECIPE}, state))
    return str(file)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("scans"), ct=2, mri=1)


def read(file):
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = feature_names(FEATURES)
    return rows, np.array([[row[name] for name in names] for row in rows], np.float32)


def test_the_numbers_are_those_of_the_bundles_inference(scans, weights, tmp_path, capsys):
    settings = {"spacing": RECIPE["spacing"], "patch_size": RECIPE["patch_size"], "pretrained_weights": weights}
    run(PRETRAINING, "inference", bundle_root=str(tmp_path), dataset_dir=str(scans), **settings)
    features(str(scans), weights, str(tmp_path / "features.csv"), num_workers=0, device=DEVICE)
    rows, values = read(tmp_path / "features.csv")
    assert [row["case"] for row in rows] == ["ct/scan_0", "ct/scan_1", "mri/scan_0"]
    assert [row["modality"] for row in rows] == ["ct", "ct", "mri"]
    for row, vector in zip(rows, values, strict=True):
        saved = np.load(tmp_path / "eval" / f"{row['case']}_features.npz")
        levels = np.concatenate([saved[f"level_{depth}"] for depth in (1, 2, 3, 4)])
        np.testing.assert_array_equal(vector, levels)
    captured = capsys.readouterr()
    printed = captured.out
    assert "features: 100%" in captured.err
    constant = [name for name, column in zip(feature_names(FEATURES), values.T, strict=True) if np.ptp(column) == 0]
    assert f"{len(constant)} of 60 features never vary" in printed
    assert all(name in printed for name in constant)
    assert "prepared by spacing [2.0, 2.0, 2.0], patch_size [16, 16, 16]" in printed
    assert f"3 of 3 rows written to {tmp_path / 'features.csv'}" in printed


def test_unreadable_scans_and_points_outside_are_skipped_and_named(scans, weights, tmp_path, capsys):
    table = scans / "points.csv"
    table.write_text(
        "image,x,y,z,modality\nct/scan_0.nii.gz,-30,-30,30,ct\nct/scan_0.nii.gz,900,0,0,ct\nno.nii,,,,ct\n"
    )
    output = tmp_path / "features.csv"
    features(str(table), weights, str(output), num_workers=0, device=DEVICE)
    rows, _ = read(output)
    assert [(row["x"], row["y"], row["z"]) for row in rows] == [("-30.0", "-30.0", "30.0")]
    captured = capsys.readouterr()
    printed = captured.out
    assert "features: 100%" in captured.err
    assert "skipped: " + str(scans / "no.nii") in printed
    assert "1 of 3 rows written" in printed
    with raises_user_error("2 of 3 rows skipped, listed above, and strict is true"):
        features(str(table), weights, str(output), num_workers=0, device=DEVICE, strict="true")
    table.write_text("image,modality\nno.nii,ct\n")
    with raises_user_error("1 of 1 rows skipped, listed above, and none is left"):
        features(str(table), weights, str(tmp_path / "none.csv"), num_workers=0, device=DEVICE)
    assert not (tmp_path / "none.csv").exists()


def test_weights_without_a_provenance_need_options(scans, weights, tmp_path):
    plain = tmp_path / "plain.pt"
    torch.save(torch.load(weights, weights_only=True), plain)
    scan, output = str(scans / "ct" / "scan_0.nii.gz"), tmp_path / "features.csv"
    with raises_user_error("weights: .*plain.pt has no provenance that states spacing, patch_size, intensity_range"):
        features(scan, str(plain), str(output))
    given = {"spacing": [2, 2, 2], "patch_size": [16, 16, 16], "intensity_range": [-1000, 1000]}
    features(scan, str(plain), str(output), **given, intensity_scale="range", num_workers=0, device=DEVICE)
    rows, values = read(output)
    assert "modality" not in rows[0]
    features(scan, weights, str(output), num_workers=0, device=DEVICE)
    np.testing.assert_array_equal(read(output)[1], values)
    given["intensity_range"] = None
    features(scan, weights, str(output), **given, intensity_scale="percentiles", num_workers=0, device=DEVICE)
    assert np.abs(read(output)[1] - values).max() > 0
    with raises_user_error(r"intensity_scale: 'minmax' is not one of \['range', 'volume', 'percentiles'\]"):
        features(scan, weights, str(output), intensity_scale="minmax")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        [{"output": "a.txt"}, "output: a.txt ends in .txt"],
        [{"scans": "nowhere"}, "scans: no file or folder nowhere"],
        [
            {"patch_size": [10, 16, 16]},
            r"patch_size: \[10, 16, 16\] is not three whole numbers of voxels, each divisible by 8",
        ],
        [{"overlap": 1}, "overlap: 1 is not within"],
        [{"modality": "pet"}, "modality: 'pet' of"],
        [{"num_workers": -1}, "num_workers: -1 is not a whole number"],
        [{"device": "gpu"}, "device: .gpu. is not a device of this machine"],
    ],
)
def test_wrong_arguments_are_one_line(changes, message, scans, weights):
    with raises_user_error(message):
        features(**{"scans": str(scans), "weights": weights, "output": "a.csv", **changes})
