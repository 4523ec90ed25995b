# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label, MONAI Deploy and MonaiAlgo leave out or put in; the tools themselves: `make test-label` …"""

from __future__ import annotations

import json
import re

import nibabel
import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.transforms import Compose
from torch import nn

from universal_model_components.imaging.errors import ScanError
from universal_model_components.imaging.labels import Labels
from universal_model_components.imaging.normalization import guess_modality
from universal_model_components.imaging.transforms import NormalizeScand, ReadScand
from universal_model_components.inference.classification import CandidateInferer, CandidateVoxelsd, CenterPatchd
from universal_model_components.inference.features import SaveFeaturesd
from universal_model_components.inference.predictions import SavePredictionsd
from universal_model_components.tasks.classification_data import complete
from universal_model_components.training.best_model import LastModel
from universal_model_components.training.handlers import use_handler

ATRIUM = {"foreground": [420], "background": [0, 205, 500], "stray": [421]}
TRAINING = sorted(REPOSITORY.glob("bundles/*/configs/train.json"))


@pytest.mark.parametrize("file", TRAINING, ids=lambda file: file.parents[1].name)
def test_handlers_may_be_pushed_back_by_one(file):
    """Label inserts a CheckpointLoader in front, and looks for `_target_` in every entry."""
    text = file.read_text()
    assert not re.findall(r"@(?:train|validate)::handlers::\d", text)
    handlers = json.loads(text)["train"]["handlers"]
    assert all(isinstance(handler, dict) and "_target_" in handler for handler in handlers)


def test_named_handler_is_used_as_it_is():
    handler = object()
    assert use_handler(handler) is handler


def test_last_model_is_written_after_every_epoch(tmp_path):
    network, file, seen = nn.Linear(2, 2), tmp_path / "models/model.pt", []
    engine = Engine(lambda engine, batch: network.weight.data.add_(1))
    LastModel(network, str(file.parent)).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(torch.load(file, weights_only=True)["weight"]))
    engine.run([0], max_epochs=2)
    torch.testing.assert_close(seen[1], seen[0] + 1)
    torch.testing.assert_close(seen[1], network.weight.data)


@pytest.mark.parametrize(
    ("values", "mask", "foreground"),
    [
        (ATRIUM, [0, 1, 1], [0, 1, 1]),  # Label's own
        (ATRIUM, [0, 0, 0], [0, 0, 0]),
        (ATRIUM, [0, 420, 205], [0, 1, 0]),  # the public set's
        ([1, 2], [0, 1, 2], [0, 1, 1]),
        ({"foreground": [2], "background": [1]}, [0, 1, 0], [0, 0, 0]),  # 1 has a meaning of its own
    ],
)
def test_mask_of_a_server_is_foreground(values, mask, foreground):
    merged = Labels(values).merge(torch.tensor(mask), "mask")
    assert merged.tolist() == foreground


def test_one_among_a_public_sets_values_is_an_error():
    with pytest.raises(ScanError, match="label value 1 in 1 voxels"):
        Labels(ATRIUM).merge(torch.tensor([0, 1, 420]), "mask")


@pytest.mark.parametrize(("highest", "label"), [(0, 0), (1, 1)])
def test_class_is_the_largest_value_of_a_mask(highest, label, tmp_path):
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1, 2, 3] = highest
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "mask.nii.gz")
    case = complete({"image": "/studies/a_1.nii.gz", "label": str(tmp_path / "mask.nii.gz")})
    assert case == {"case": "a_1", "image": "/studies/a_1.nii.gz", "label": label}


def test_mask_value_that_is_no_class_is_named(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), 3, np.uint8), np.eye(4)), tmp_path / "m.nii.gz")
    with pytest.raises(ValueError, match=r"m\.nii\.gz: label is 3\.0, expected 0 or 1"):
        complete({"image": "a.nii.gz", "label": str(tmp_path / "m.nii.gz")})


def test_complete_case_stays_as_it_is():
    case = {"image": "a.nii.gz", "case": "patient 7", "label": 1}
    assert complete(case) == case


@pytest.fixture
def scan(generator) -> MetaTensor:
    """A normalized scan with the metadata that a loader leaves."""
    voxels = torch.rand(1, 20, 24, 18, generator=generator)
    meta = {"spatial_shape": np.array([20, 24, 18]), "original_affine": np.eye(4)}
    return NormalizeScand("image")({"image": MetaTensor(voxels, affine=torch.eye(4), meta=meta)})["image"]


def test_without_candidates_the_middle_cube_is_classified(scan):
    def network(cubes):
        return cubes.flatten(1)[:, :2]

    cube = CenterPatchd("image", [8, 8, 4])({"image": scan})["image"]
    answer = CandidateInferer([8, 8, 4])(scan[None], network)
    torch.testing.assert_close(torch.as_tensor(answer), torch.as_tensor(network(cube[None])))
    assert answer.shape == (1, 2)


def test_answers_on_no_grid_are_not_resized_to_the_scans(scan):
    assert "spatial_shape" in scan.meta
    assert "spatial_shape" not in CenterPatchd("image", [8, 8, 4])({"image": scan})["image"].meta
    data = CandidateVoxelsd("candidates")({"image": scan, "image_path": "a"})
    assert set(data) == {"image", "image_path"}
    CandidateVoxelsd("candidates")({"image": scan, "candidates": [[-3.0, -4.0, 5.0]]})
    assert "spatial_shape" not in scan.meta


def test_nothing_is_written_for_a_sample_without_a_name(tmp_path, scan):
    file = tmp_path / "out/predictions.csv"
    data = {"image": scan, "pred": torch.tensor([0.4, 0.6])}
    assert SavePredictionsd("pred", str(file))(data) == data
    assert not file.exists()
    features = SaveFeaturesd(["level_1"], meta_key="pred", output_dir=str(tmp_path / "features"))
    assert features(data) == data
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(("lowest", "name"), [(-1024, "ct"), (-200, "ct"), (-3, "mri"), (0, "mri")])
def test_modality_is_told_by_intensities(lowest, name, tmp_path, generator):
    voxels = torch.randint(lowest, 900, (8, 9, 10), generator=generator).numpy().astype(np.int16)
    voxels[0, 0, 0], voxels[0, 0, 1] = lowest, 900
    assert guess_modality(voxels) == name
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    windows, scales = {"ct": [-1000, 1000], "mri": [0, 4000]}, {"ct": "range", "mri": "volume"}
    read = Compose([ReadScand("image"), NormalizeScand("image", windows, scales)])
    file = str(tmp_path / "a.nii.gz")
    guessed, given = (read({"image": file, **more})["image"] for more in ({}, {"modality": name}))
    assert torch.equal(guessed, given)
