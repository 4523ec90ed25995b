# SPDX-License-Identifier: Apache-2.0
"""The look of all figures: what is drawn ends in an SVG element for a page, or in a PNG beside nothing else."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from universal_model_components.figures.style import (
    GROUND,
    RED,
    finish_axes,
    new_figure,
    sample_line,
    svg_style,
    to_svg,
    whole_ticks,
    write_png,
)


def draw():
    figure = new_figure(3, 2)
    axis = figure.subplots()
    axis.plot([1, 2, 3], [0.5, 0.2, 0.1], label="error")
    whole_ticks(axis)
    finish_axes(axis, "Title", "mean squared error")
    return figure, axis


def test_axes_begin_at_zero_with_whole_ticks_and_a_legend():
    figure, axis = draw()
    figure.canvas.draw()
    assert axis.get_ylim()[0] == 0
    assert all(float(tick).is_integer() for tick in axis.get_xticks())
    assert (axis.get_title(), axis.get_ylabel()) == ("Title", "mean squared error")
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["error"]


def test_svg_takes_the_color_of_its_page_and_has_no_ids_of_groups():
    drawings = []
    for _ in range(2):
        with svg_style("a name"):
            drawings.append(to_svg(draw()[0]))
    assert drawings[0] == drawings[1]
    assert drawings[0].startswith("<svg")
    assert "currentColor" in drawings[0]
    assert '<g id="' not in drawings[0]


def test_png_is_written_whole_with_its_ground(tmp_path):
    figure = new_figure(2, 1, GROUND)
    assert write_png(figure, tmp_path / "deep" / "a.png") == tmp_path / "deep" / "a.png"
    pixels = matplotlib.image.imread(tmp_path / "deep" / "a.png")
    assert pixels.shape[:2] == (120, 240)
    expected = [int(GROUND[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    np.testing.assert_allclose(pixels[0, 0, :3], expected, atol=0.01)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_png(figure, tmp_path / "file" / "a.png")


def test_lines_of_a_legend():
    full, dashed = sample_line(RED), sample_line(RED, dashed=True)
    assert (full.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert full.get_color() == dashed.get_color() == RED
    assert len(full.get_xdata()) == 0
