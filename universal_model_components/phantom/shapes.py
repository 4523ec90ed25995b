# SPDX-License-Identifier: Apache-2.0
"""Drawing tools for the synthetic scans: a canvas in millimeters, smooth random fields, and a few soft-edged shapes.

Everything random is drawn in millimeters, independently of the voxel grid, so one seed gives the same anatomy at every
shape and spacing. Shapes are signed distances (negative inside) turned into coverage between 0 and 1, which is what a
scanner's partial-volume effect does at an edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

Region = tuple[slice, slice, slice]
EVERYWHERE: Region = (slice(None), slice(None), slice(None))
_SPLINE_DEVIATION = (151 / 315) ** 1.5  # of a cubic B-spline sum with unit normal coefficients, over three axes
_WARP_MARGIN = 4.0  # deviations of the warp that a bounding box leaves room for


def spline_weights(positions: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Cubic B-spline weights of evenly spaced knots at given positions.

    Shape:
        positions (N,); knots (K,) → (N, K).
    """
    distance = np.abs(positions[:, None] - knots[None]) / (knots[1] - knots[0])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


class Canvas:
    """A scan being drawn, in patient coordinates: x to the right, y to the front, z upwards, in mm.

    Args:
        shape: voxels along x, y, z.
        spacing: mm between voxels.
        center: mm, the point of the patient at the middle of the scan.
        tissues: intensity of each tissue by name; `air` is what the canvas starts with.
        rng: random generator.
        size: of the patient, relative to the average one.
        warp: mm, standard deviation of the smooth displacement that makes shapes irregular.
        warp_length: mm, over which that displacement changes.
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacing: Sequence[float],
        center: Sequence[float],
        tissues: Mapping[str, float],
        rng: np.random.Generator,
        size: float = 1.0,
        warp: float = 3.0,
        warp_length: float = 70.0,
    ) -> None:
        self.axes = [
            (((np.arange(n) - (n - 1) / 2) * s + c) / size).astype(np.float32)
            for n, s, c in zip(shape, spacing, center, strict=True)
        ]
        self.spacing = np.asarray(spacing, np.float32) / size
        self.edge = float(np.prod(self.spacing) ** (1 / 3))
        self.tissues = dict(tissues)
        self.margin = _WARP_MARGIN * warp + 2 * float(self.spacing.max())
        self.image = np.full(tuple(shape), self.tissues["air"], np.float32)
        self.labels: dict[str, np.ndarray] = {}
        grid = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self.x, self.y, self.z = (axis + warp * self.field(rng, warp_length) for axis in grid)

    def field(self, rng: np.random.Generator, length: float, reach: float = 260.0) -> np.ndarray:
        """Smooth random field of mean 0 and deviation 1, as a cubic B-spline with normal coefficients.

        Args:
            rng: random generator.
            length: mm, the length over which the field changes its sign (two knots).
            reach: mm, the field fades to 0 further from the origin than this.
        """
        knots = np.arange(-reach, reach + length / 2, length / 2, dtype=np.float32)
        values = rng.standard_normal((len(knots),) * 3, dtype=np.float32) / np.float32(_SPLINE_DEVIATION)
        weights = [spline_weights(axis, knots) for axis in self.axes]
        used = [w.any(axis=0) for w in weights]  # only the knots that this scan sees
        values = values[np.ix_(*used)]
        for w, u in zip(reversed(weights), reversed(used), strict=True):
            values = np.tensordot(w[:, u], values, axes=(1, 2))  # the last axis is contracted and becomes the first
        return np.ascontiguousarray(values)

    def around(self, points: ArrayLike, reach: float) -> Region:
        """The voxels of a box that contains all points and `reach` mm around them (and room for the warp)."""
        points = np.atleast_2d(np.asarray(points, np.float32))
        low, high = points.min(0) - reach - self.margin, points.max(0) + reach + self.margin
        start = [int(np.searchsorted(a, value)) for a, value in zip(self.axes, low, strict=True)]
        stop = [int(np.searchsorted(a, value, "right")) for a, value in zip(self.axes, high, strict=True)]
        return (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))

    def cover(self, distance: np.ndarray, softness: float = 1.0) -> np.ndarray:
        """Share of each voxel that lies inside, from signed distances in mm (negative inside)."""
        return np.clip(0.5 - distance / (softness * self.edge), 0, 1)

    def paint(
        self, tissue: str, cover: np.ndarray, region: Region = EVERYWHERE, label: str | None = None
    ) -> np.ndarray:
        """Blend a tissue in where `cover` is above 0; with `label`, remember the voxels that are more than half it."""
        self.image[region] += cover * (self.tissues[tissue] - self.image[region])
        if label is not None:
            mask = self.labels.setdefault(label, np.zeros(self.image.shape, np.uint8))
            mask[region] |= (cover > 0.5).astype(np.uint8)
        return cover

    def ellipsoid(
        self,
        tissue: str,
        center: ArrayLike,
        radii: ArrayLike,
        axes: ArrayLike | None = None,
        rough: np.ndarray | float = 0.0,
        label: str | None = None,
    ) -> None:
        """Paint an ellipsoid.

        Args:
            tissue: what to paint.
            center: mm.
            radii: mm, along its own axes.
            axes: its axes as rows of a 3×3 rotation; the patient's when absent.
            rough: mm, a whole-canvas field that pushes the surface inwards or outwards.
            label: name of the mask to add it to.
        """
        radii = np.asarray(radii, np.float32)
        region = self.around(center, float(radii.max()) * 1.2)
        push = rough[region] if isinstance(rough, np.ndarray) else rough
        self.paint(tissue, self.cover(self.ellipsoid_distance(center, radii, axes, region) + push), region, label)

    def ellipsoid_distance(
        self, center: ArrayLike, radii: ArrayLike, axes: ArrayLike | None = None, region: Region = EVERYWHERE
    ) -> np.ndarray:
        """Signed distance in mm to an ellipsoid's surface, along the ray from its center."""
        offset = [a[region] - c for a, c in zip((self.x, self.y, self.z), np.asarray(center, np.float32), strict=True)]
        if axes is not None:
            rotation = np.asarray(axes, np.float32)
            offset = [row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2] for row in rotation]
        radii = np.asarray(radii, np.float32)
        tiny = 1e-4  # mm², so that the center's depth is the mean radius
        length = np.sqrt(sum(o * o for o in offset) + tiny)
        scaled = np.sqrt(sum((o / r) ** 2 for o, r in zip(offset, radii, strict=True)) + tiny / radii.mean() ** 2)
        return length * (1 - 1 / scaled)

    def tube(self, tissue: str, points: ArrayLike, radii: ArrayLike, label: str | None = None) -> None:
        """Paint a tube along a polyline.

        Args:
            tissue: what to paint.
            points: mm, (N, 3) corners.
            radii: mm, one for all corners or one each; it changes linearly between corners.
            label: name of the mask to add it to.
        """
        points = np.asarray(points, np.float32)
        radii = np.broadcast_to(np.asarray(radii, np.float32), len(points))
        for start, stop, r0, r1 in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            region = self.around([start, stop], max(r0, r1))
            offset = [a[region] - p for a, p in zip((self.x, self.y, self.z), start, strict=True)]
            along = stop - start
            share = np.clip(sum(o * a for o, a in zip(offset, along, strict=True)) / (along @ along), 0, 1)
            squared = sum((o - share * a) ** 2 for o, a in zip(offset, along, strict=True))
            self.paint(tissue, self.cover(np.sqrt(squared) - (r0 + share * (r1 - r0))), region, label)

    def tree(self, segments: np.ndarray, rng: np.random.Generator, density: float = 6.0) -> np.ndarray:
        """Share of each voxel that a tree of thin tubes fills: a cloud of points, counted in voxels.

        Args:
            segments: (N, 8) start, stop, radius at the start and at the stop, in mm.
            rng: random generator.
            density: points per voxel of tube.
        """
        start, stop, radii = segments[:, :3], segments[:, 3:6], segments[:, 6:]
        volume = np.linalg.norm(stop - start, axis=1) * np.pi * (radii**2).mean(1)
        share = density / float(np.prod(self.spacing))
        which = np.repeat(np.arange(len(segments)), np.ceil(volume * share).astype(int))
        along = rng.random((len(which), 1), np.float32)
        away = rng.standard_normal((len(which), 3), np.float32)
        away *= rng.random((len(which), 1), np.float32) ** 0.5 / np.linalg.norm(away, axis=1, keepdims=True)
        radius = radii[which, :1] + along * np.diff(radii[which])
        points = start[which] + along * (stop - start)[which] + away * radius
        first = np.array([axis[0] for axis in self.axes])
        voxels = np.rint((points - first) / self.spacing).astype(int)
        voxels = voxels[((voxels >= 0) & (voxels < self.image.shape)).all(1)]
        flat = np.ravel_multi_index(tuple(voxels.T), self.image.shape)
        count = np.bincount(flat, minlength=self.image.size).reshape(self.image.shape)
        return np.clip(gaussian_filter(count.astype(np.float32) / density, 0.45, truncate=2), 0, 1)


def grow_tree(
    root: ArrayLike, targets: np.ndarray, radius: float, step: float = 0.45, thinnest: float = 0.4
) -> np.ndarray:
    """Branches from a root to every target: each goes part of the way to its targets' mean, then splits.

    The radius follows Murray's law: it shrinks with the cube root of the number of targets that a branch still feeds.

    Args:
        root: mm, where the tree starts.
        targets: (N, 3) mm, points to feed.
        radius: mm, at the root.
        step: share of the way to the mean of its targets that one branch covers.
        thinnest: mm, minimum radius.

    Returns:
        (M, 8) segments: start, stop, radius at the start, radius at the stop.
    """
    segments: list[np.ndarray] = []
    waiting = [(np.asarray(root, np.float32), targets, radius)]
    while waiting:
        start, goals, here = waiting.pop()
        stop = start + (goals.mean(0) - start) * (step if len(goals) > 1 else 1.0)
        there = max(radius * (len(goals) / len(targets)) ** (1 / 3), thinnest)
        segments.append(np.concatenate([start, stop, [here, there]]))
        if len(goals) > 1:
            spread = goals - goals.mean(0)
            order = np.argsort(spread @ np.linalg.svd(spread, full_matrices=False)[2][0])
            waiting += [(stop, goals[half], there) for half in np.array_split(order, 2)]
    return np.stack(segments).astype(np.float32)
