# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from luna import write_luna16

from universal_model_components.tasks.classification_checks import check_samples, missing_classes
from universal_model_components.tasks.findings import ERROR, Finding


def test_candidates_must_lie_inside_their_scan(tmp_path):
    entry = write_luna16(tmp_path, scans=1)[0]
    case = {**entry, "image": str(tmp_path / entry["image"])}
    check_samples(case, "here")
    x, y, z, label = case["candidates"][0]
    with pytest.raises(ValueError, match=r"candidates: 1 of 1 lie outside .*\.mhd"):
        check_samples({**case, "candidates": [[x, y, z + 500.0, label]]}, "here")
    with pytest.raises(ValueError, match=r"^here: candidate"):
        check_samples({**case, "candidates": [[x, y, z, 2]]}, "here")


@pytest.mark.parametrize(("labels", "missing"), [([0, 1], []), ([0, 0], ["positives"]), ([1], ["negatives"])])
def test_a_class_without_samples_is_named(labels, missing):
    lines = list(missing_classes("list.json", "training", [{"label": label} for label in labels]))
    assert [name in line for line, name in zip(lines, missing, strict=True)] == [True] * len(missing)
    assert all(f"among the {len(labels)} samples of 'training'" in line for line in lines)


def test_a_finding_is_one_line():
    assert str(Finding(ERROR, "datalist: none")) == "error: datalist: none"
