# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import matplotlib.image
import numpy as np

from universal_model_components.figures.overlays import Overlay, draw_overlays, fullest_voxel


def block(shape, *ranges):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*pair) for pair in ranges)] = True
    return mask


def test_planes_go_through_most_of_the_reference_or_of_the_prediction():
    shape = (12, 10, 8)
    reference, prediction = block(shape, (2, 4), (5, 6), (1, 7)), block(shape, (8, 9), (1, 2), (3, 4))
    assert fullest_voxel(reference, prediction) == (2, 5, 1)
    assert fullest_voxel(np.zeros(shape, bool), prediction) == (8, 1, 3)
    assert fullest_voxel(np.zeros(shape, bool), np.zeros(shape, bool)) == (6, 5, 4)


def test_a_row_for_each_case(tmp_path, generator):
    shape = (20, 16, 12)
    image = np.random.default_rng(0).normal(0, 100, shape)
    mask, empty = block(shape, (5, 12), (4, 9), (3, 8)), np.zeros(shape, bool)
    rows = [Overlay(image, mask, guess, np.diag([-2.0, 2, 3, 1]), "case <b>$x$") for guess in (mask, empty)]
    heights = []
    for chosen in (rows[:1], rows):
        file = draw_overlays(chosen, tmp_path / "panels" / "a.png")
        heights.append(matplotlib.image.imread(file).shape[0])
    assert heights[1] > 1.8 * heights[0]
    assert [file.name for file in (tmp_path / "panels").iterdir()] == ["a.png"]
