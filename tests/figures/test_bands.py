# SPDX-License-Identifier: Apache-2.0
"""Charts of an experiment: every line, panel and estimate is named once."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from svg import texts

from universal_model_components.figures.bands import Estimate, Line, Panel, draw_bands, draw_intervals
from universal_model_components.figures.style import faint_line


def make_panel(title: str, systems: int = 2) -> Panel:
    steps = np.array([3.0, 10, 40])
    lines = [Line(f"system {n}", n, steps, steps / 40 + n, np.full(3, 0.1)) for n in range(systems)]
    return Panel(title, "training cases", "IoU (%)", lines, level=0.9, level_name="all labels")


def test_bands_name_each_line_once():
    words = texts(draw_bands([make_panel("one"), make_panel("two"), make_panel("three")], "bands"))
    for name in ("one", "two", "three"):
        assert f" {name} " in words
    assert words.count("system 1") == words.count("system 0") == words.count("all labels") > 0
    assert draw_bands([make_panel("one")], "bands") == draw_bands([make_panel("one")], "bands")


def test_bands_at_points_are_labeled_there():
    words = texts(draw_bands([make_panel("one", systems=8)], "points", at_points=True)).split()
    assert {"3", "10", "40"} <= set(words)
    assert "system 7" in " ".join(words)


def test_intervals_are_colored_by_what_they_say():
    estimates = [Estimate("helps", 2, 1, 3), Estimate("unclear", 0.5, -1, 2), Estimate("hurts", -2, -3, -1)]
    drawing = draw_intervals([("task", estimates)], "gains", "gain")
    for word in ("helps", "unclear", "hurts", "task", "gain"):
        assert word in texts(drawing)
    for color in ("#009e73", "#0072b2", "#d55e00"):
        assert color in drawing
    assert "#009e73" not in draw_intervals([("task", estimates)], "ranks", "rank", zero=False)
    certain = [replace(estimate, certain=False) for estimate in estimates]
    assert not {"#009e73", "#d55e00"} & set(
        re.findall("#[0-9a-f]{6}", draw_intervals([("task", certain)], "few", "gain"))
    )
    assert faint_line()["linewidth"] < 2


def test_long_names_are_broken_and_stand_once_in_a_row():
    long = "Universal Model, continued on the target's scans, 5 cases"
    panels = [(title, [Estimate(long, 1, 0, 2), Estimate("short", 1, 0, 2)]) for title in ("one", "two", "three")]
    one, three = (texts(draw_intervals(panels[:count], "gains", "gain")) for count in (1, 3))
    assert three.count("short") == 2 * one.count("short") > 0  # of three panels in two rows
    assert re.search(r"continued on\n\s*the target's", three)
    others = [("one", [Estimate("short", 1, 0, 2)]), ("two", [Estimate("other", 1, 0, 2)])]
    assert {"short", "other"} <= set(texts(draw_intervals(others, "gains", "gain")).split())
