# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from universal_model_components.cubes.cropping import (
    air_shares,
    air_table,
    case_generator,
    choose_draw,
    crop_shape,
    cut_cubes,
    draw_corners,
    scale_counts,
    too_small,
)
from universal_model_components.cubes.recipe import SCALES, Recipe, make_recipe, recipe_id
from universal_model_components.imaging.hdf5 import LEVELS

SPACING = (1.0, 1.0, 1.0)


def small(**changes) -> Recipe:
    settings = {
        "patch_size": (16, 16, 8),
        "minimum_crop": 4,
        "cubes_per_volume": dict(zip(SCALES, (3, 3, 6), strict=True)),
    }
    return Recipe(**{**settings, **changes})


@pytest.fixture
def volume(generator) -> torch.Tensor:
    return torch.rand(40, 36, 32, generator=generator)


@pytest.mark.parametrize(
    ("shape", "fraction", "expected"),
    [((100, 80, 60), 1 / 2, (50, 40, 30)), ((100, 80, 60), 1 / 4, (25, 20, 15)), ((100, 80, 60), 1 / 8, (12, 10, 8))],
)
def test_crops_are_a_fraction_of_each_side(shape, fraction, expected):
    assert crop_shape(shape, fraction) == expected


def test_crops_are_a_half_a_quarter_and_an_eighth_unless_told_otherwise(volume):
    assert list(Recipe().crop_fractions.values()) == [1 / 2, 1 / 4, 1 / 8]
    wide = small(crop_fractions={"large": 0.8, "medium": 0.4, "small": 0.2})
    boxes = cut_cubes(volume, SPACING, wide, "case").boxes
    assert (boxes[:, 1] - boxes[:, 0]).astype(int).tolist() == 3 * [[32, 29, 26]] + 3 * [[16, 14, 13]] + 6 * [[8, 7, 6]]


@pytest.mark.parametrize(
    ("shape", "spacing", "counts"),
    [
        ((64, 64, 64), (1, 1, 1), [16, 16, 32]),
        ((64, 64, 60), (1, 1, 1), [16, 16, 32]),  # 60 / 8 rounds to 8
        ((64, 64, 56), (1, 1, 1), [16, 16, 0]),
        ((64, 64, 56), (1, 1, 2), [16, 16, 32]),
        ((64, 64, 20), (1, 1, 1), [16, 0, 0]),
        ((64, 64, 10), (1, 1, 1), [0, 0, 0]),
    ],
)
def test_a_scale_under_the_minimum_crop_is_skipped(shape, spacing, counts):
    assert scale_counts(shape, spacing, Recipe()) == counts


def test_a_volume_too_small_for_any_scale_is_refused():
    with pytest.raises(ValueError, match=r"\[10.0, 10.0, 10.0\] mm is too small for any scale with minimum_crop 8 mm"):
        cut_cubes(torch.rand(10, 10, 10), SPACING, Recipe(), "a")


def test_default_ratio_is_one_to_one_to_two():
    assert list(Recipe().cubes_per_volume.values()) == [16, 16, 32]


def test_corners_cover_every_place_and_stay_inside():
    corners = draw_corners((10, 9, 8), (7, 9, 4), 500, 2, np.random.default_rng(0)).reshape(-1, 3)
    assert [sorted(set(axis.tolist())) for axis in corners.T] == [[0, 1, 2, 3], [0], [0, 1, 2, 3, 4]]


def test_air_shares_equal_counting(volume):
    corners = draw_corners(volume.shape, (9, 7, 5), 6, 3, np.random.default_rng(0))
    shares = air_shares(air_table(volume, 0.4), corners, (9, 7, 5))
    for index in np.ndindex(6, 3):
        box = tuple(slice(low, low + side) for low, side in zip(corners[index], (9, 7, 5), strict=True))
        assert shares[index] == pytest.approx(float((volume[box] < 0.4).double().mean()))


def test_the_first_good_draw_or_else_the_least_empty_is_taken():
    shares = np.array([[0.99, 0.5, 0.1], [0.99, 0.97, 0.98], [0.2, 0.9, 0.3]])
    assert choose_draw(shares, 0.95).tolist() == [1, 1, 0]


def test_cubes_lie_where_their_boxes_say(volume):
    # With crops of the cube's own shape nothing is interpolated: each cube is the box that its record names.
    recipe = small(patch_size=(20, 18, 16), cubes_per_volume={"large": 5, "medium": 0, "small": 0})
    cubes = cut_cubes(volume, (2.0, 1.0, 1.0), recipe, "ct/a")
    assert cubes.values.dtype == np.uint16
    for cube, box in zip(cubes.values, cubes.boxes, strict=True):
        low, high = np.rint(box / (2, 1, 1)).astype(int)
        part = volume[low[0] : high[0], low[1] : high[1], low[2] : high[2]].numpy()
        np.testing.assert_allclose(cube / LEVELS, part, atol=0.5 / LEVELS + 1e-6)


def test_places_depend_on_seed_and_case_alone(volume):
    first = cut_cubes(volume, SPACING, small(), "ct/a")
    assert first.counts == [3, 3, 6]
    assert first.values.shape == (12, 16, 16, 8)
    again = cut_cubes(volume, SPACING, small(), "ct/a")
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.boxes, cut_cubes(volume, SPACING, small(), "ct/b").boxes)
    assert not np.array_equal(first.boxes, cut_cubes(volume, SPACING, small(seed=1), "ct/a").boxes)
    # More large cubes leave the small ones where they were.
    more = cut_cubes(volume, SPACING, small(cubes_per_volume={"large": 9, "medium": 0, "small": 6}), "ct/a")
    np.testing.assert_array_equal(more.boxes[-6:], first.boxes[-6:])


@pytest.mark.parametrize(("share", "redrawn"), [(0.9, True), (None, False), (0, False)])
def test_mostly_background_cubes_are_drawn_again(share, redrawn):
    volume = torch.zeros(64, 64, 64)
    volume[20:44, 20:44, 20:44] = 0.5
    recipe = small(air_share=share, cubes_per_volume={"large": 0, "medium": 0, "small": 40})
    cubes = cut_cubes(volume, SPACING, recipe, "ct/a")
    empty = int((cubes.values.reshape(40, -1).max(axis=1) == 0).sum())
    assert (empty < 5) is redrawn
    if redrawn:
        assert empty <= cubes.mostly_background
    else:
        assert cubes.mostly_background == 0


def test_a_volume_of_air_is_accepted_and_counted():
    cubes = cut_cubes(torch.zeros(64, 64, 64), SPACING, small(), "ct/a")
    assert cubes.mostly_background == len(cubes.values) == 12


def test_generator_is_pinned():
    # Stores made by different versions must not differ: a change here asks for a higher RECIPE_VERSION.
    assert case_generator(0, "ct/a", 2).integers(0, 1000, 3).tolist() == [146, 504, 283]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing": [1, 1]}, "spacing: .* is not three positive numbers"),
        ({"patch_size": [64, 64, -1]}, "patch_size: .* is not three positive numbers"),
        ({"intensity_range": {"ct": [1, 0], "mri": None}}, "intensity_range: .* of 'ct' is neither"),
        ({"intensity_range": {"ct": None}}, "intensity_range: no entry for modality 'mri'"),
        (
            {"intensity_scale": {"ct": "windw", "mri": "volume"}},
            "intensity_scale: 'windw' of 'ct' is not one of .*'percentiles'",
        ),
        ({"foreground_crop": "maybe"}, "foreground_crop: 'maybe' is not a boolean"),
        ({"cubes_per_volume": {"large": 1}}, "cubes_per_volume: .* each of"),
        ({"cubes_per_volume": {"large": 0, "medium": 0, "small": 0}}, "cubes_per_volume: all numbers are 0"),
        ({"cubes_per_volume": 16}, "cubes_per_volume: 16 does not give"),
        ({"seed": "one"}, "seed: 'one' is not a whole number"),
        ({"seed": 0.5}, "seed: 0.5 is not a whole number"),
        ({"minimum_crop": "8mm"}, "minimum_crop: '8mm' is not a number"),
        ({"air_threshold": [0.05]}, r"air_threshold: \[0.05\] is not a number"),
        ({"air_share": "false"}, "air_share: 'false' is not a number"),
        ({"air_share": False}, "air_share: False is not a number"),
        ({"air_tries": 2.5}, "air_tries: 2.5 is not a whole number"),
        ({"spacing": [1, 1, float("nan")]}, "spacing: .* is not three positive numbers"),
        ({"intensity_range": {"ct": ["-1000", "1000"], "mri": None}}, "intensity_range: .* of 'ct' is neither"),
        ({"intensity_range": "ab"}, "intensity_range: 'ab' of 'ct' is neither"),
        ({"air_share": 2}, "air_share: 2 is not within 0 and 1"),
        ({"air_tries": 0}, "air_tries: 0 is less than 1"),
        ({"antialias": "si"}, "antialias: 'si' is not a boolean"),
        ({"cube_size": 3}, "recipe: .*cube_size"),
    ],
)
def test_senseless_recipes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(settings, ["ct", "mri"])


def test_a_modality_without_a_default_must_be_given_everywhere():
    with pytest.raises(ValueError, match="intensity_range, intensity_scale, foreground_crop: no entry for modality 'u"):
        make_recipe({}, ["ct", "us"])
    with pytest.raises(ValueError, match=r"^foreground_crop: no entry for modality 'us'"):
        make_recipe({"intensity_range": None, "intensity_scale": "volume"}, ["ct", "us"])


def test_pet_has_defaults_that_change_nothing_where_there_is_none():
    given = {"intensity_range": {"ct": [-1000, 1000], "mri": [0, 4000]}}
    made = make_recipe(given, ["ct", "mri", "pet"])
    assert made.intensity_range["pet"] == [0, 20]
    assert made.intensity_scale["pet"] == "range"
    assert made.foreground_crop["pet"] is False
    assert make_recipe({"intensity_range": {"pet": [0, 10]}}, ["pet"]).intensity_range == {"pet": [0, 10]}
    assert "pet" not in str(make_recipe(given, ["ct", "mri"]).to_dict())


def test_recipes_read_the_command_line():
    recipe = make_recipe({"intensity_range": "null", "foreground_crop": "false", "air_share": "null"}, ["ct", "mri"])
    assert recipe.intensity_range == {"ct": None, "mri": None}
    assert recipe.foreground_crop == {"ct": False, "mri": False}
    assert recipe.air_share is None
    assert recipe_id(recipe.to_dict()) != recipe_id(Recipe().to_dict())
    assert recipe_id(make_recipe({}, ["ct"]).to_dict()) == recipe_id(Recipe().to_dict())


def test_too_small_says_how_small_and_for_what():
    line = too_small((10, 20, 30), (1.0, 1.0, 0.5), Recipe(minimum_crop=8))
    assert "[10.0, 20.0, 15.0] mm is too small for any scale with minimum_crop 8 mm" in line
