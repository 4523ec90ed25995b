# SPDX-License-Identifier: Apache-2.0
"""Pictures: the right planes the right way up, telling slices, charts that name what they show."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch

from universal_model_components.figures.pictures import draw_errors, draw_losses, draw_panel, draw_scans
from universal_model_components.figures.planes import mosaic, plane_slices, telling_voxel


def test_planes_are_turned_as_radiologists_look_at_them() -> None:
    volume = np.arange(4 * 3 * 2).reshape(4, 3, 2)
    axial, coronal, sagittal = plane_slices(volume, (1, 2, 0))
    assert (axial.shape, coronal.shape, sagittal.shape) == ((3, 4), (2, 4), (2, 3))
    assert axial[0, 0] == volume[3, 0, 0]  # the patient's right on the left, the back at the bottom (first row)
    assert coronal[1, 3] == volume[0, 2, 1]
    assert sagittal[1, 2] == volume[1, 2, 1]


def test_telling_voxel_goes_where_the_corruption_is(generator: torch.Generator) -> None:
    original = torch.rand(24, 20, 16, generator=generator).numpy()
    corrupted = original.copy()
    corrupted[2:6, 3:7, 12:15] = 0
    voxel = telling_voxel(original, corrupted)
    assert all(low <= v < high for v, (low, high) in zip(voxel, ((2, 6), (3, 7), (12, 15)), strict=True))
    assert telling_voxel(original, 1 - original) == (12, 10, 8)  # everywhere: the middle
    assert telling_voxel(original, original) == (12, 10, 8)  # nowhere: the middle


@pytest.mark.parametrize(("shape", "names"), [((1, 1, 16, 16, 8), None), ((3, 1, 12, 16, 8), ["CT", "MRI", "<b>$x$"])])
def test_panel_is_a_picture(tmp_path: Path, shape: tuple[int, ...], names, generator: torch.Generator) -> None:
    cubes = [torch.rand(shape, generator=generator) for _ in range(3)]
    file = draw_panel(*cubes, tmp_path / "panels" / "inner.png", "Inner", names)
    pixels = matplotlib.image.imread(file)
    assert pixels.shape[1] > 800
    assert pixels[..., :3].std() > 0.1
    assert [p.name for p in file.parent.iterdir()] == ["inner.png"]


def test_panel_columns_show_their_cubes(tmp_path: Path) -> None:
    values = [torch.full((1, 1, 16, 16, 8), v) for v in (0.2, 0.6, 1.0)]
    pixels = matplotlib.image.imread(draw_panel(*values, tmp_path / "a.png"))
    height, width = pixels.shape[:2]
    places = [int(width * (i + 0.25) / 4) for i in range(3)]  # in the axial planes
    np.testing.assert_allclose(pixels[height // 2, places, 0], [0.2, 0.6, 1.0], atol=0.01)


def test_panel_stops_at_its_limit(tmp_path: Path) -> None:
    cube = torch.rand(5, 1, 8, 8, 4)
    heights = [
        matplotlib.image.imread(draw_panel(cube, cube, cube, tmp_path / "a.png", limit=limit)).shape[0]
        for limit in (1, 2, 5, 9)
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]


@pytest.mark.parametrize(("shape", "size"), [((8, 8, 4), (10, 18)), ((8, 6, 4), (10, 18)), ((4, 4, 8), (18, 10))])
def test_mosaic_holds_all_three_planes(shape: tuple[int, int, int], size: tuple[int, int]) -> None:
    planes = plane_slices(np.ones(shape), (0, 0, 0))
    picture = mosaic(planes)
    assert picture.shape == size
    assert np.nansum(picture) == sum(plane.size for plane in planes)


def test_panel_takes_half_precision_and_gradients(tmp_path: Path) -> None:
    cube = torch.rand(1, 1, 16, 16, 8, dtype=torch.bfloat16, requires_grad=True)
    assert draw_panel(cube, cube, cube, tmp_path / "a.png").exists()


def test_panel_names_what_is_wrong(tmp_path: Path) -> None:
    cube = torch.zeros(2, 1, 8, 8, 8)
    with pytest.raises(ValueError, match=r"cubes are .*\(1, 1, 8, 8, 8\).*expected three of one shape"):
        draw_panel(cube, cube, cube[:1], tmp_path / "a.png")
    with pytest.raises(ValueError, match="names has 1 entries for 2 cubes"):
        draw_panel(cube, cube, cube, tmp_path / "a.png", names=["CT"])
    assert not list(tmp_path.iterdir())


def test_scans_are_drawn(tmp_path: Path, generator: torch.Generator) -> None:
    files = []
    for index, offset in enumerate((-1000, 0, 0, 0)):
        voxels = (torch.rand(12, 10, 8, generator=generator) * 900 + offset).numpy()
        files.append(tmp_path / f"scan_{index}.nii.gz")
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([-2.0, 2, 3, 1])), files[-1])
    assert matplotlib.image.imread(draw_scans(files, tmp_path / "scans.png")).shape[1] > 800


def texts(svg: str) -> str:
    return " ".join("".join(element.itertext()) for element in ElementTree.fromstring(svg).iter())


def test_loss_curves_leave_out_what_is_absent() -> None:
    rows = [
        {"epoch": e, "loss_restoration": 0.1 / e, "loss_modality": 0.7, "loss_scale": float("nan")} for e in (1, 2, 3)
    ]
    svg = draw_losses(rows, {"corrupted input": 0.09})
    words = texts(svg)
    assert "training" in words
    assert "corrupted input" in words
    assert "modality" in words
    assert "validation" not in words
    assert "scale" not in words
    assert "currentColor" in svg
    assert draw_losses(rows, {"corrupted input": 0.09}) == svg  # the same input, the same drawing


def test_loss_curves_survive_nothing_to_draw() -> None:
    assert "<svg" in draw_losses([{"epoch": 1, "loss_restoration": float("nan")}])


def test_error_bars_name_kinds_and_series() -> None:
    words = texts(
        draw_errors({"Inner": {"corrupted_mse": 0.2, "constant_mse": 0.1, "restored_mse": 0.05}, "Outer": {}})
    )
    for expected in ("Inner", "Outer", "corrupted input", "best constant", "restored"):
        assert expected in words
