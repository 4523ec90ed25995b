# SPDX-License-Identifier: Apache-2.0
"""Cubes and scans in three planes: originals, corrupted inputs and restorations, and an overview of scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events

from ..imaging.geometry import to_ras
from ..imaging.reading import read_scan
from .planes import informative_voxel, mosaic, plane_slices
from .style import GROUND, INK, new_figure, write_png

COLUMNS = ("original", "corrupted", "restored", "absolute error")


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
        corrupted: the network's input.
        restored: the network's output.
        file: PNG to write (atomically).
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
    _check_cubes(cubes, names)
    rows = [_panel_row(*(c[index, 0] for c in cubes)) for index in range(min(len(cubes[0]), limit))]
    tall = 2.4 * rows[0][0].shape[0] / rows[0][0].shape[1] + (0.24 if names else 0.06)
    tall = tall * len(rows) + (0.42 if title else 0.22)
    figure = new_figure(9.8, tall, GROUND, w_pad=0.04, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        _show_row(line, row)
    for axis, column in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(column, color=INK, fontsize=10)
    for line, name in zip(axes, names or (), strict=False):
        name = " · ".join(name.splitlines())
        line[0].set_xlabel(name, color=INK, fontsize=9, loc="left", parse_math=False, in_layout=False)
    figure.suptitle(title, color=INK, fontsize=12, parse_math=False)
    return write_png(figure, file)


def _check_cubes(cubes: Sequence[np.ndarray], names: Sequence[str] | None) -> None:
    if cubes[0].ndim != 5 or cubes[0].shape[1] != 1 or any(c.shape != cubes[0].shape for c in cubes):
        raise ValueError(f"cubes are {[tuple(c.shape) for c in cubes]}, expected three of one shape (B, 1, H, W, D)")
    if names is not None and len(names) != len(cubes[0]):
        raise ValueError(f"names has {len(names)} entries for {len(cubes[0])} cubes, expected one each")


def _show_row(axes: Sequence[Any], pictures: Sequence[np.ndarray]) -> None:
    """Show the pictures of one cube, the last of which is the error."""
    for axis, values, column in zip(axes, pictures, COLUMNS, strict=True):
        error = column == COLUMNS[-1]
        axis.imshow(values, cmap="magma" if error else "gray", vmin=0, vmax=0.5 if error else 1, origin="lower")
        axis.set(xticks=[], yticks=[], facecolor=GROUND)
        axis.spines[:].set_visible(False)


def _panel_row(original: np.ndarray, corrupted: np.ndarray, restored: np.ndarray) -> list[np.ndarray]:
    at = informative_voxel(original, corrupted)
    return [mosaic(plane_slices(v, at)) for v in (original, corrupted, restored, np.abs(restored - original))]


def draw_scans(files: Sequence[str | Path], file: str | Path, columns: int = 3) -> Path:
    """Draw three planes through the middle of each scan, in true proportions.

    Args:
        files: scans of any format that can be prepared.
        file: PNG to write (atomically).
        columns: scans side by side.
    """
    lines = -(-len(files) // columns)
    figure = new_figure(3.4 * columns, 1.45 * lines, GROUND)
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


class RestorationPanels:
    """Draw the first cubes of the validation set, corrupted and restored, every few epochs.

    Args:
        output_dir: `panels/epoch_0001.png` … go there.
        interval: epochs between panels; 0 is off.
        draw: (original, corrupted, restored, file) → None, tensors (B, C, H, W, D) in [0, 1]; `draw_panel` by default.
    """

    def __init__(self, output_dir: str, interval: int = 1, draw: Callable[..., Any] = draw_panel) -> None:
        self.folder, self.interval, self.draw = Path(output_dir) / "panels", interval, draw

    def attach(self, engine: Any) -> None:
        """Draw the first batch of each of `engine`'s epochs that are due."""
        if self.interval > 0 and idist.get_rank() == 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Draw the batch that the evaluator has just finished, when it is the epoch's first."""
        if engine.state.iteration != 1 or engine.state.epoch % self.interval:
            return
        output = engine.state.output
        restored = torch.sigmoid(output["pred"]["restoration"].float())
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"epoch_{engine.state.epoch:04d}.png"
        self.draw(output["label"]["restoration"].cpu(), output["image"].cpu(), restored.cpu(), file)
