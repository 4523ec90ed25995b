# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: restoration panels in three planes, loss curves, error bars, and scans at a glance.

Each is drawn on a `Figure` of its own (no pyplot, hence no global state and no display). Panels are PNG on a dark
ground, as in a viewer; charts are SVG whose text takes the color of the page around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from ..imaging.geometry import to_ras
from ..imaging.reading import read_scan
from ..utils.files import write_atomically
from .planes import mosaic, plane_slices, telling_voxel

COLUMNS = ("original", "corrupted", "restored", "absolute error")
GROUND, INK = "#14171c", "#e8eaed"
# Okabe and Ito's palette, which people with any kind of color vision can tell apart.
BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
_PAGE_INK, _PAGE_FAINT = "#010203", "#010204"  # placeholders that become `currentColor`
_PNG_DOTS_PER_INCH = 120


def draw_panel(
    original: torch.Tensor,
    corrupted: torch.Tensor,
    restored: torch.Tensor,
    file: str | Path,
    title: str = "",
    names: Sequence[str] | None = None,
    limit: int = 6,
) -> Path:
    """Draw cubes in three planes: original, corrupted, restored, and the absolute error of the restored one.

    Args:
        original: cubes in [0, 1].
        corrupted: what the network saw.
        restored: what it made of it.
        file: PNG to write (beside, then renamed).
        title: line at the top.
        names: one for each cube, below its row.
        limit: cubes after this many are left out.

    Shape:
        all three (B, 1, H, W, D), of any device and floating type; a row for each cube.

    Raises:
        ValueError: when the shapes differ or are not (B, 1, H, W, D), or when names and cubes differ in number.
        OSError: when the file cannot be written; the message names it.
    """
    cubes = [t.detach().float().cpu().numpy() for t in (original, corrupted, restored)]
    if cubes[0].ndim != 5 or cubes[0].shape[1] != 1 or any(c.shape != cubes[0].shape for c in cubes):
        raise ValueError(f"cubes are {[tuple(c.shape) for c in cubes]}, expected three of one shape (B, 1, H, W, D)")
    if names is not None and len(names) != len(cubes[0]):
        raise ValueError(f"names has {len(names)} entries for {len(cubes[0])} cubes, expected one each")
    rows = [_panel_row(*(c[index, 0] for c in cubes)) for index in range(min(len(cubes[0]), limit))]
    tall = 2.4 * rows[0][0].shape[0] / rows[0][0].shape[1] + (0.24 if names else 0.06)
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(9.8, tall * len(rows) + (0.42 if title else 0.22)), facecolor=GROUND, layout=layout)
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis, values, column in zip(line, row, COLUMNS, strict=True):
            error = column == COLUMNS[-1]
            axis.imshow(values, cmap="magma" if error else "gray", vmin=0, vmax=0.5 if error else 1, origin="lower")
            axis.set(xticks=[], yticks=[], facecolor=GROUND)
            axis.spines[:].set_visible(False)
    for axis, column in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(column, color=INK, fontsize=10)
    for line, name in zip(axes, names or (), strict=False):
        name = " · ".join(name.splitlines())
        line[0].set_xlabel(name, color=INK, fontsize=9, loc="left", parse_math=False, in_layout=False)
    figure.suptitle(title, color=INK, fontsize=12, parse_math=False)
    return write_png(figure, file)


def _panel_row(original: np.ndarray, corrupted: np.ndarray, restored: np.ndarray) -> list[np.ndarray]:
    at = telling_voxel(original, corrupted)
    return [mosaic(plane_slices(v, at)) for v in (original, corrupted, restored, np.abs(restored - original))]


def draw_scans(files: Sequence[str | Path], file: str | Path, columns: int = 3) -> Path:
    """Draw three planes through the middle of each scan, in patient's proportions.

    Args:
        files: scans of any format that can be prepared.
        file: PNG to write (beside, then renamed).
        columns: scans side by side.
    """
    lines = -(-len(files) // columns)
    figure = Figure(figsize=(3.4 * columns, 1.45 * lines), facecolor=GROUND, layout="constrained")
    outer = figure.subfigures(lines, columns, squeeze=False, facecolor=GROUND).ravel()
    for part, source in zip(outer, files, strict=False):
        voxels, affine = to_ras(*read_scan(source))
        volume = voxels.astype(np.float32)
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
        low, high = (-1000, 800) if volume.min() < -500 else np.percentile(volume, (1, 99.7))
        slices = plane_slices(volume, [n // 2 for n in volume.shape])
        for axis, values, aspect in zip(part.subplots(1, 3), slices, (y / x, z / x, z / y), strict=True):
            axis.imshow(values, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=aspect)
            axis.set_axis_off()
        source = Path(source)
        part.suptitle(f"{source.parent.name}/{source.name.split('.nii')[0]}", color=INK, fontsize=8)
    return write_png(figure, file)


def draw_losses(rows: Sequence[Mapping[str, float]], references: Mapping[str, float] | None = None) -> str:
    """Loss curves as SVG: restoration (training and validation, beside reference errors), then the two classifiers.

    Args:
        rows: one an epoch, with the columns of `losses.csv`; a missing or non-finite value is left out.
        references: name and mean squared error of horizontal lines to compare with.
    """
    right = [(name, color) for name, color in (("loss_modality", PINK), ("loss_scale", SKY)) if _has(rows, name)]
    with matplotlib.rc_context(_svg_style("losses")):
        figure = Figure(figsize=(9.2, 3.3) if right else (5.4, 3.3), layout="constrained")
        axes = figure.subplots(1, 2 if right else 1, squeeze=False)[0]
        _curve(axes[0], rows, "loss_restoration", BLUE, "-", "training")
        _curve(axes[0], rows, "val_restoration", RED, "-", "validation")
        for (name, value), color in zip((references or {}).items(), (ORANGE, GREEN), strict=False):
            axes[0].axhline(value, color=color, linestyle="--", linewidth=1.4, label=name)
        _dress(axes[0], "Restoration", "mean squared error")
        if right:
            for name, color in right:
                _curve(axes[1], rows, name, color, "-" if name == "loss_modality" else "-.", name.removeprefix("loss_"))
            _dress(axes[1], "Classifiers", "cross-entropy")
        return _svg(figure)


def draw_metrics(rows: Sequence[Mapping[str, float]], metrics: Sequence[str], file: str | Path) -> Path:
    """Draw the training loss and validation metrics against the epoch (the paper's Fig. 4), as PNG.

    Args:
        rows: one an epoch, with the columns of `losses.csv`; a missing or non-finite value is left out.
        metrics: columns for the right-hand side, between 0 and 1; those without a value are left out.
        file: to write (beside, then renamed).
    """
    shown = [name for name in metrics if _has(rows, name)]
    figure = Figure(figsize=(9.2, 3.3), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    _curve(left, rows, "loss", BLUE, "-", "training")
    _curve(left, rows, "val_loss", RED, "-", "validation")
    _dress(left, "Loss", "loss")
    for name, color, line in zip(shown, (GREEN, RED, PINK, SKY), ("-", "-.", "--", ":"), strict=False):
        best = max((row[name], row.get("epoch", i + 1)) for i, row in enumerate(rows) if _has([row], name))
        _curve(right, rows, name, color, line, f"{name}, best {best[0]:.3f} in epoch {best[1]:g}")
    _dress(right, "Validation", "")
    right.set_ylim(0, 1)
    return write_png(figure, file)


def draw_errors(kinds: Mapping[str, Mapping[str, float]]) -> str:
    """Bars as SVG: for each kind of corruption, the error of the input, of the best constant, and of the restored cube.

    Args:
        kinds: label of the kind → `corrupted_mse`, `constant_mse`, `restored_mse`.
    """
    series = (
        ("corrupted_mse", "corrupted input", ORANGE, ""),
        ("constant_mse", "best constant", SKY, "//"),
        ("restored_mse", "restored", BLUE, ""),
    )
    with matplotlib.rc_context(_svg_style("errors")):
        figure = Figure(figsize=(9.2, 3.2), layout="constrained")
        axis = figure.subplots()
        for offset, (key, name, color, hatch) in zip((-0.27, 0, 0.27), series, strict=True):
            heights = [float(values.get(key) or np.nan) for values in kinds.values()]
            places = np.arange(len(heights)) + offset
            axis.bar(places, heights, 0.25, color=color, label=name, hatch=hatch, edgecolor="#ffffff80", linewidth=0)
        axis.set_xticks(range(len(kinds)), list(kinds))
        _dress(axis, "", "mean squared error")
        axis.grid(visible=False, axis="x")
        axis.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        return _svg(figure)


def _has(rows: Sequence[Mapping[str, float]], name: str) -> bool:
    return any(np.isfinite(row.get(name, np.nan)) for row in rows)


def _curve(axis: Axes, rows: Sequence[Mapping[str, float]], name: str, color: str, line: str, label: str) -> None:
    points = [(row.get("epoch", i + 1), row.get(name, np.nan)) for i, row in enumerate(rows)]
    points = [point for point in points if np.isfinite(point[1])]
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if points:
        marker = "o" if len(points) < 30 else ""
        axis.plot(*zip(*points, strict=True), color=color, linestyle=line, marker=marker, markersize=3.5, label=label)


def _dress(axis: Axes, title: str, ylabel: str) -> None:
    axis.set(title=title, ylabel=ylabel)
    axis.set_ylim(bottom=0)
    axis.grid(color=_PAGE_FAINT, alpha=0.15, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=9)


def _svg_style(name: str) -> dict[Any, Any]:
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _PAGE_INK)
    fixed = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 10}
    return {**ink, **fixed, "axes.titlesize": 11, "lines.linewidth": 2.0}


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub('<g id="[^"]*"', "<g", text[text.index("<svg") :])  # ids must be unique on the page around it
    return text.replace(_PAGE_INK, "currentColor").replace(_PAGE_FAINT, "currentColor")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def write_png(figure: Figure, file: str | Path) -> Path:
    """Write a figure as PNG, beside its name, then renamed."""
    content = _png(figure)
    write_atomically(Path(file), lambda path: path.write_bytes(content))
    return Path(file)
