# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from universal_model_components.label_fractions import label_fraction

SCANS = [{"case": f"scan_{n}", "group": f"patient_{n // 2}", "image": f"{n}.nii.gz"} for n in range(40)]
CLASSES = [{"case": str(n), "label": int(n < 4), "image": f"{n}.nii.gz"} for n in range(30)]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_subsets_are_nested_by_patient(seed):
    parts = [label_fraction(SCANS, share, seed) for share in (1.0, 0.7, 0.3, 0.1)]
    assert [len(part) for part in parts] == [40, 28, 12, 4]
    for larger, smaller in zip(parts, parts[1:], strict=False):
        assert all(entry in larger for entry in smaller)
    assert len({entry["group"] for entry in parts[-1]}) == 2


def test_the_seed_and_the_names_decide():
    assert label_fraction(SCANS, 0.3, 0) != label_fraction(SCANS, 0.3, 1)
    shuffled = label_fraction(SCANS[::-1], "0.3", 0)
    assert shuffled[::-1] == label_fraction(SCANS, 0.3, 0)


def test_no_class_is_lost():
    kept = label_fraction(CLASSES, 0.1, 0)
    assert sorted(entry["label"] for entry in kept) == [0, 0, 0, 1]


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, "half", None, float("nan")])
def test_no_share(fraction):
    with pytest.raises(ValueError, match="label_fraction: got"):
        label_fraction(SCANS, fraction)
