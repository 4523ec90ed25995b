# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import numpy as np
import pytest
from scan_files import write_scan

from universal_model_components.tasks.empty_masks import with_foreground


def masks(folder, *values):
    """Cases whose masks hold one voxel of each given value."""
    cases = []
    for number, value in enumerate(values):
        mask = np.zeros((4, 4, 4), np.int16)
        mask[1, 2, 3] = value
        cases.append({"case": str(number), "label": str(write_scan(folder / f"{number}.nii.gz", mask))})
    return cases


@pytest.mark.parametrize(
    ("values", "label_values"), [[(0, 1), None], [(0, 0, 7), None], [(5, 2), {"foreground": [2], "background": [5]}]]
)
def test_one_mask_with_foreground_is_enough(values, label_values, tmp_path, caplog):
    cases = masks(tmp_path, *values)
    for split in ("training", "validation"):
        assert with_foreground(cases, label_values, split) is cases
    assert not caplog.records
    assert with_foreground([], label_values) == []


@pytest.mark.parametrize(("values", "label_values"), [[(0, 0), None], [(5, 5), {"foreground": [2], "background": [5]}]])
def test_without_any_training_is_refused_and_validation_warned_of(values, label_values, tmp_path, caplog):
    cases = masks(tmp_path, *values)
    with pytest.raises(ValueError, match=r"^label_values: none of the 2 training masks has foreground, first .*0\.nii"):
        with_foreground(cases, label_values)
    with caplog.at_level(logging.WARNING):
        assert with_foreground(cases, label_values, "validation") is cases
    assert "IoU and Dice are undefined, and the last epoch's model is kept" in caplog.text


def test_a_mask_that_cannot_be_read_is_left_to_whoever_reads_the_cases(tmp_path):
    cases = masks(tmp_path, 0, 0)
    (tmp_path / "0.nii.gz").write_bytes(b"")
    assert with_foreground(cases) is cases
