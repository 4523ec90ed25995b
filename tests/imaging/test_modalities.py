# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from universal_model_components.imaging.modalities import DEFAULTS, check_modalities, of_modalities
from universal_model_components.imaging.transforms import NormalizeScand


def test_only_what_a_mapping_lacks_is_filled():
    assert of_modalities({"ct": [0, 1]}, ["ct", "pet"], "intensity_range") == {"ct": [0, 1], "pet": [0, 20]}
    assert of_modalities({"pet": [0, 5]}, ["pet"], "intensity_range") == {"pet": [0, 5]}
    assert of_modalities("null", ["pet"], "intensity_range") == {"pet": None}
    assert of_modalities({"ct": [0, 1], "mri": "null"}, ["mri"], "intensity_range") == {"mri": None}
    assert {key: value["pet"] for key, value in DEFAULTS.items()} == {
        "intensity_range": [0, 20],
        "intensity_scale": "range",
        "foreground_crop": False,
    }


def test_one_error_names_every_missing_entry():
    settings = {"intensity_range": {"ct": None}, "intensity_scale": "volume", "foreground_crop": {"mri": True}}
    check_modalities(settings, ["pet"])
    with pytest.raises(ValueError, match=r"^intensity_range, foreground_crop: no entry for modality 'us'") as caught:
        check_modalities(settings, ["pet", "us"])
    advice = "(found ['pet']): add --intensity_range::us VALUE --foreground_crop::us VALUE"
    assert str(caught.value).endswith(advice)


def test_a_pet_scan_is_scaled_by_its_window():
    image = MetaTensor(torch.linspace(0, 40, 64).reshape(1, 4, 4, 4))
    mappings = {"intensity_range": {"ct": [-1000, 1000]}, "intensity_scale": {"ct": "range"}}
    made = NormalizeScand("image", **mappings, spacing=None)({"image": image, "modality": "pet"})["image"]
    torch.testing.assert_close(made.as_tensor(), image.as_tensor().clamp(0, 20) / 20)
