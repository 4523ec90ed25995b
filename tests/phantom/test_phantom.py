# SPDX-License-Identifier: Apache-2.0
"""Synthetic scans: deterministic, in plausible units, labels where the anatomy is, files that a scanner might write."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from universal_model_components.phantom import (
    draw_brain_mri,
    draw_heart_ct,
    draw_heart_mri,
    draw_thorax_ct,
    write_labeled_phantoms,
    write_phantoms,
)
from universal_model_components.phantom.brain import paint_head
from universal_model_components.phantom.chest import paint_chest
from universal_model_components.phantom.heart import paint_heart
from universal_model_components.phantom.shapes import Canvas, grow_tree, spline_weights
from universal_model_components.phantom.tissues import CT, HEAD_MRI

SHAPE = (48, 40, 32)
DRAWERS = [draw_thorax_ct, draw_heart_ct, draw_heart_mri, draw_brain_mri]


def share(image: np.ndarray, low: float, high: float) -> float:
    return float(((image >= low) & (image <= high)).mean())


@pytest.mark.parametrize("draw", DRAWERS)
def test_same_seed_same_scan(draw) -> None:
    first, again, other = draw(3, SHAPE), draw(3, SHAPE), draw(4, SHAPE)
    assert first.image.shape == SHAPE
    assert first.image.dtype == np.int16
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.affine, again.affine)
    for name, mask in first.labels.items():
        np.testing.assert_array_equal(mask, again.labels[name])
    assert (first.image != other.image).mean() > 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chest_is_in_hounsfield_units(seed: int) -> None:
    image = draw_thorax_ct(seed, (64, 56, 40)).image.astype(float)
    middle = image[16:48, 12:44]  # within the body
    lung = middle[(middle < -600) & (middle > -1010)]
    soft = middle[(middle > -30) & (middle < 150)]
    assert np.median(lung) == pytest.approx(-850, abs=40)
    assert 0 < np.median(soft) < 80
    assert share(middle, -970, -700) > 0.15
    assert share(middle, -10, 120) > 0.15
    assert 0.003 < share(image, 300, 1500) < 0.1
    assert share(image, -140, -50) > 0.03  # fat
    assert image.max() < 1500


def test_air_and_padding_surround_the_body() -> None:
    corners = {int(np.median(draw_thorax_ct(seed, (24, 24, 16)).image[:2, :2])) for seed in range(5)}
    assert -3024 in corners
    assert any(-1040 < corner < -960 for corner in corners)


def test_contrast_medium_fills_the_left_atrium() -> None:
    phantom = draw_heart_ct(1, (64, 64, 40))
    mask = phantom.labels["left_atrium"] > 0
    volume = mask.sum() * abs(np.linalg.det(phantom.affine[:3, :3])) / 1000
    assert 20 < volume < 160  # ml
    assert np.median(phantom.image[mask]) > 250
    assert phantom.modality == "ct"


def test_heart_mri_has_bright_blood() -> None:
    phantom = draw_heart_mri(1, (64, 64, 40))
    mask = phantom.labels["left_atrium"] > 0
    assert np.median(phantom.image[mask]) > 1.5 * np.median(phantom.image)
    assert phantom.image.min() >= 0
    assert phantom.modality == "mri"


@pytest.mark.parametrize("seed", [0, 5])
def test_lesion_is_bright_in_flair_and_fluid_dark(seed: int) -> None:
    phantom = draw_brain_mri(seed, (72, 80, 64), contrast="flair", tumor=True)
    mask = phantom.labels["lesion"] > 0
    head = phantom.image > 0.25 * np.percentile(phantom.image, 99)
    assert 0.001 < mask.mean() < 0.08
    assert np.median(phantom.image[mask]) > 1.3 * np.median(phantom.image[head])


def test_contrasts_share_their_anatomy_and_differ_in_brightness() -> None:
    t1, t2 = (draw_brain_mri(2, (64, 64, 48), contrast=contrast, tumor=False) for contrast in ("t1", "t2"))
    np.testing.assert_array_equal(t1.labels["lesion"], t2.labels["lesion"])
    inner = (slice(20, 44), slice(14, 50), slice(24, 40))
    assert np.corrcoef(t1.image[inner].ravel(), t2.image[inner].ravel())[0, 1] < -0.3


def test_nodules_are_dense_spots_in_the_lungs_where_the_points_say() -> None:
    phantom = draw_thorax_ct(1, (96, 80, 72), nodules=4)
    mask, points = phantom.labels["nodule"] > 0, phantom.points["nodule"]
    assert 1 <= len(points) <= 8  # nodules may touch, or be cut by what lies over them
    around = np.median(phantom.image[mask])
    assert -700 < around < 120
    voxels = np.rint((points - phantom.affine[:3, 3]) @ np.linalg.inv(phantom.affine[:3, :3]).T).astype(int)
    assert mask[tuple(voxels.T)].all()
    assert "nodule" not in draw_thorax_ct(1, SHAPE, nodules=0).labels


@pytest.mark.parametrize(("axcodes", "tilt"), [("RAS", 0.0), ("LPS", 0.0), ("PIR", 0.0), ("LAI", 12.0), ("PSR", -8.0)])
def test_axes_and_tilt_move_the_voxels_not_the_patient(axcodes: str, tilt: float) -> None:
    straight = draw_thorax_ct(2, SHAPE, spacing=(8, 8, 9), nodules=3)
    turned = draw_thorax_ct(2, SHAPE, spacing=(8, 8, 9), nodules=3, axcodes=axcodes, tilt=tilt)
    assert nib.aff2axcodes(turned.affine) == tuple(axcodes)
    np.testing.assert_allclose(sorted(np.linalg.norm(turned.affine[:3, :3], axis=0)), [8, 8, 9], rtol=1e-6)
    back = nib.as_closest_canonical(turned.nifti())
    np.testing.assert_array_equal(np.asarray(back.dataobj), straight.image)
    if not tilt:
        np.testing.assert_allclose(back.affine, straight.affine, atol=1e-5)
    assert turned.labels["left_atrium"].shape == turned.image.shape


def test_one_seed_is_one_patient_at_every_resolution() -> None:
    coarse, fine = draw_heart_ct(7, (32, 32, 24)), draw_heart_ct(7, (64, 64, 48))
    volumes = [p.labels["left_atrium"].sum() * abs(np.linalg.det(p.affine[:3, :3])) for p in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.08)
    averaged = fine.image.reshape(32, 2, 32, 2, 24, 2).mean((1, 3, 5))
    assert np.corrcoef(averaged.ravel(), coarse.image.ravel())[0, 1] > 0.95


def test_field_has_unit_deviation_and_zero_mean() -> None:
    canvas = Canvas((32, 32, 32), (6, 6, 6), (0, 0, 0), {"air": 0}, np.random.default_rng(0))
    values = canvas.field(np.random.default_rng(1), 12)
    assert float(values.mean()) == pytest.approx(0, abs=0.05)
    assert float(values.std()) == pytest.approx(1, abs=0.06)


def test_ellipsoid_distance_is_exact_along_the_axes_and_deep_at_the_center() -> None:
    canvas = Canvas((21, 21, 21), (1, 1, 1), (0, 0, 0), {"air": 0}, np.random.default_rng(0), warp=0)
    distance = canvas.ellipsoid_distance((0, 0, 0), (4, 6, 8))
    np.testing.assert_allclose(distance[10:, 10, 10], np.arange(11) - np.where(np.arange(11) > 0, 4, 6), atol=0.02)
    np.testing.assert_allclose(distance[10, 10, 11:], np.arange(1, 11) - 8, atol=0.02)


def test_tree_reaches_every_target_and_thins_by_murrays_law() -> None:
    targets = np.random.default_rng(0).uniform(-50, 50, (65, 3))
    segments = grow_tree((0, 0, 0), targets, radius=8.0, thinnest=0.1)
    reached = {tuple(np.round(stop, 2)) for stop in segments[:, 3:6]}
    assert {tuple(np.round(t, 2)) for t in targets.astype(np.float32)} <= reached
    assert segments[:, 6:].max() == 8
    assert segments[:, 7].min() == pytest.approx(8 / 65 ** (1 / 3), rel=1e-5)


def test_write_phantoms(tmp_path: Path) -> None:
    files = write_phantoms(tmp_path / "a", 3, seed=5, shape=(24, 24, 16), progress=False)
    names = ["ct/thorax_000", "ct/heart_000", "ct/thorax_001", "mri/brain_000", "mri/heart_000", "mri/brain_001"]
    assert [f.relative_to(tmp_path / "a").as_posix() for f in files] == [f"{name}.nii.gz" for name in names]
    assert sorted(p for p in (tmp_path / "a").rglob("*") if p.is_file()) == sorted(files)  # nothing half-written
    again = write_phantoms(tmp_path / "b", 1, seed=5, shape=(24, 24, 16), progress=False)
    for one, two in zip((files[0], files[3]), again, strict=True):
        first, second = nib.load(one), nib.load(two)
        assert first.get_data_dtype() == np.int16
        np.testing.assert_array_equal(first.affine, second.affine)
        np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contrast is 'pd', expected one of"):
        draw_brain_mri(0, SHAPE, contrast="pd")
    with pytest.raises(ValueError, match="cases_per_modality is 0"):
        write_phantoms(tmp_path, 0)
    with pytest.raises(ValueError, match=r"shape is \(8, 8\), expected three sides"):
        draw_heart_ct(0, (8, 8))


def test_spline_weights_are_those_of_a_cubic_spline_and_sum_to_one() -> None:
    knots = np.arange(-3.0, 9.0)
    weights = spline_weights(np.linspace(0, 5, 21), knots)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights @ knots, np.linspace(0, 5, 21), atol=1e-5)  # a line is reproduced
    np.testing.assert_allclose(weights[0, 2:5], [1 / 6, 2 / 3, 1 / 6], atol=1e-6)


@pytest.mark.parametrize("paint", ["chest", "heart", "head"])
def test_anatomy_is_painted_on_any_canvas_with_its_masks(paint: str) -> None:
    tissues = HEAD_MRI["t1"] if paint == "head" else CT
    canvas = Canvas((40, 40, 32), (6, 6, 7), (0, 0, 0), tissues, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    if paint == "chest":
        paint_chest(canvas, rng, nodules=2)
        assert set(canvas.labels) >= {"nodule", "left_atrium"}
    elif paint == "heart":
        paint_heart(canvas, rng)
        assert list(canvas.labels) == ["left_atrium"]
    else:
        paint_head(canvas, rng, tumor=True, spots=2)
        assert list(canvas.labels) == ["lesion"]
    low, high = min(tissues.values()), max(tissues.values())
    assert canvas.image.min() >= low - 1e-3
    assert canvas.image.max() <= high + 1e-3
    assert (canvas.image != tissues["air"]).mean() > 0.05
    assert all(0 < mask.max() <= 1 for mask in canvas.labels.values())


def test_labeled_phantoms_are_a_datalist_of_other_scans(tmp_path: Path) -> None:
    datalist = write_labeled_phantoms(tmp_path / "labeled", 3, seed=5, shape=(24, 24, 16))
    lists = json.loads(datalist.read_text())
    assert {name: len(entries) for name, entries in lists.items()} == {"training": 2, "validation": 1}
    for entry in [*lists["training"], *lists["validation"]]:
        image, label = (nib.load(datalist.parent / entry[key]) for key in ("image", "label"))
        assert image.shape == label.shape
        assert np.allclose(image.affine, label.affine)
        assert set(np.unique(label.dataobj)) == {0, 1}
    drawn = [file.read_bytes() for file in write_phantoms(tmp_path / "plain", 4, 5, (24, 24, 16), progress=False)]
    assert all((datalist.parent / entry["image"]).read_bytes() not in drawn for entry in lists["training"])
    again = write_labeled_phantoms(tmp_path / "again", 3, seed=5, shape=(24, 24, 16))
    files = [file.relative_to(again.parent) for file in sorted(again.parent.rglob("*.*"))]
    assert all((again.parent / file).read_bytes() == (datalist.parent / file).read_bytes() for file in files)
