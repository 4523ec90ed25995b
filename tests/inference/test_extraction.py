# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from scan_files import body, write_scan
from user_errors import raises_user_error

from universal_model_components.imaging.normalization import load_scan
from universal_model_components.imaging.resampling import resize
from universal_model_components.inference.extraction import FeatureExtractor, recipe_for_features
from universal_model_components.inference.scan_rows import ScanRow
from universal_model_components.method.unet import Encoder
from universal_model_components.utils.pooling import pool_levels

RECIPE = {"spacing": [2, 2, 2], "patch_size": [8, 8, 8], "intensity_range": [-1000, 1000], "intensity_scale": "range"}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return str(write_scan(tmp_path_factory.mktemp("scans") / "a.nii.gz", body((24, 20, 16)), 2.0))


@pytest.fixture
def extractor():
    torch.manual_seed(3)
    return FeatureExtractor(Encoder(1, [4, 8]), RECIPE, batch_size=2)


def expected(extractor, cube):
    with torch.no_grad():
        return torch.cat(pool_levels(extractor.encoder(cube[None, None])), dim=1)[0].numpy()


def test_a_cube_around_a_point_in_mm_of_the_patient(scan, extractor):
    """The affine is diag(2, 2, 2): voxel (12, 10, 8) is at (24, 20, 16) mm RAS, (-24, -20, 16) mm LPS."""
    volume = load_scan(scan, (-1000, 1000), "range", (2, 2, 2)).volume
    point = (-24.0, -20.0, 16.0)
    rows = [ScanRow(scan, "a", None, point), ScanRow(scan, "a", None, point, (24.0, 20.0, 16.0)), ScanRow(scan, "a")]
    found, problems = extractor.extract(rows)
    assert problems == []
    np.testing.assert_allclose(found[0], expected(extractor, volume[8:16, 6:14, 4:12]), atol=1e-6)
    crop = resize(volume[6:18, 5:15, 4:12], (8, 8, 8)).clamp(0, 1)
    np.testing.assert_allclose(found[1], expected(extractor, crop), atol=1e-6)
    assert not np.allclose(found[0], found[2])
    assert found[2].shape == (12,)


def test_rows_do_not_depend_on_their_order_or_company(scan, extractor):
    rows = [ScanRow(scan, "a", None, (-20.0 - place, -20.0, 16.0)) for place in range(3)] + [ScanRow(scan, "a")]
    together, _ = extractor.extract(rows)
    again, _ = extractor.extract(rows)
    backward, _ = extractor.extract(rows[::-1])
    for number in range(4):
        assert np.array_equal(together[number], again[number])
        np.testing.assert_allclose(together[number], backward[3 - number], atol=1e-6)


def test_what_cannot_be_used_is_named_and_the_others_stay(scan, extractor, tmp_path):
    missing = str(tmp_path / "none.nii.gz")
    rows = [ScanRow(missing, "none"), ScanRow(scan, "a", None, (500.0, 0.0, 0.0)), ScanRow(scan, "a")]
    found, problems = extractor.extract(rows)
    assert set(found) == {2}
    assert problems[0].startswith(f"{missing}: no such file")
    assert problems[1].startswith(f"{scan}: point [500.0, 0.0, 0.0] mm (LPS) lies outside the scan")


def test_features_that_are_not_finite_are_an_error(scan, extractor):
    with torch.no_grad():
        extractor.encoder.levels[1].conv2.weight.fill_(torch.inf)
    with raises_user_error("a.nii.gz: a feature is not finite"):
        extractor.extract([ScanRow(scan, "a")])


def test_the_recipe_is_the_provenances_unless_given():
    assert recipe_for_features({**RECIPE, "seed": 0}, {}, "model.pt") == RECIPE
    given = {"spacing": None, "intensity_range": None}
    assert recipe_for_features(RECIPE, given, "model.pt") == {**RECIPE, **given}
    with raises_user_error("weights: model.pt has no provenance that states patch_size: give --patch_size"):
        recipe_for_features(RECIPE, {"patch_size": None}, "model.pt")
    with raises_user_error("spacing, patch_size, intensity_range, intensity_scale: give --spacing --patch_size"):
        recipe_for_features(None, {}, "model.pt")
