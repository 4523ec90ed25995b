# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
import torch

from universal_model_components.imaging.errors import ScanError
from universal_model_components.imaging.labels import Labels

MMWHS = {"foreground": [420], "background": [0, 205, 500], "stray": [421]}


@pytest.mark.parametrize(
    ("values", "mask", "expected"),
    [
        [None, [0, 1, 2, 4], [0, 1, 1, 1]],
        ["null", [0, 3, 0, 3], [0, 1, 0, 1]],
        [[1, 2], [0, 1, 2, 0], [0, 1, 1, 0]],
        [1, [0, 1, 1, 0], [0, 1, 1, 0]],
        [MMWHS, [0, 205, 420, 500], [0, 0, 1, 0]],
    ],
)
def test_values_are_merged_to_foreground(values, mask, expected):
    for dtype in (torch.float32, torch.int16):
        merged = Labels(values).merge(torch.tensor(mask, dtype=dtype), "mask")
        assert merged.tolist() == expected
        assert merged.dtype == torch.float32


def test_a_stray_value_is_background_and_reported(caplog):
    with caplog.at_level(logging.WARNING):
        merged = Labels(MMWHS).merge(torch.tensor([0, 420, 421, 421]), "mr_1010.nii.gz")
    assert merged.tolist() == [0, 1, 0, 0]
    assert "mr_1010.nii.gz: stray label 421 in 2 voxels, taken as background" in caplog.text


@pytest.mark.parametrize(
    ("values", "mask", "message"),
    [
        [[1, 2], [0, 3, 3, 1], r"mask: label value 3 in 2 voxels, expected \[0, 1, 2\]"],
        [None, [0, 0.5, 1, 1], "label value 0.5 in 1 voxels, expected whole numbers from 0 on"],
        [None, [0, -1, 1, 1], "label value -1 in 1 voxels"],
        [MMWHS, [0, 1, 420, 205], "label value 1 in 1 voxels"],
        [None, [0, 1, float("inf"), 1], "label value inf in 1 voxels, expected whole numbers from 0 on"],
        [None, [0, 1, float("nan"), 1], "label value nan in 1 voxels, expected whole numbers from 0 on"],
        [[1, 2], [0, 1, -float("inf"), 1], r"label value -inf in 1 voxels, expected \[0, 1, 2\]"],
    ],
)
def test_an_unexpected_value_is_named(values, mask, message):
    with pytest.raises(ScanError, match=message):
        Labels(values).merge(torch.tensor(mask), "mask")


@pytest.mark.parametrize(
    "values",
    [
        *({"foreground": []}, {"foreground": [1], "stray": [1]}, {"atrium": [420]}, []),
        *("all", [0.5], ["1"], [True], {"foreground": "420"}),
    ],
)
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ValueError, match="label_values"):
        Labels(values)
