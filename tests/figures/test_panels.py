# SPDX-License-Identifier: Apache-2.0
"""Pictures of cubes and scans."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch
from trainers import WIDTH, TensorCubes, make_evaluator

from universal_model_components.figures.panels import RestorationPanels, draw_panel, draw_scans
from universal_model_components.method.models import UniversalModel


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


def test_panels_are_drawn_when_due(tmp_path):
    drawn = []
    panels = RestorationPanels(str(tmp_path), 2, lambda *tensors_and_file: drawn.append(tensors_and_file))
    validator = make_evaluator(UniversalModel(features=WIDTH, outputs="all"), [panels])
    for epoch in (1, 2, 3, 4):
        validator.run(epoch)
    assert [call[3].name for call in drawn] == ["epoch_0002.png", "epoch_0004.png"]
    assert {call[3].parent for call in drawn} == {tmp_path / "panels"}
    original, corrupted, restored = drawn[0][:3]
    assert original.shape == corrupted.shape == restored.shape == (4, 1, 16, 16, 16)
    assert torch.equal(original, torch.stack([TensorCubes(6, seed=1)[i]["image"] for i in range(4)]))
    assert 0 <= restored.min() <= restored.max() <= 1
