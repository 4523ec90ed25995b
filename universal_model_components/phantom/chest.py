# SPDX-License-Identifier: Apache-2.0
"""The chest: wall, ribs, spine, lungs with their vessels and airways, diaphragm, upper abdomen, and nodules."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from .heart import paint_heart
from .shapes import Canvas, grow_tree

_RIB_PERIOD = 27.0  # mm from rib to rib and from vertebra to vertebra


def paint_chest(canvas: Canvas, rng: np.random.Generator, nodules: int) -> None:
    """Paint a whole chest; nodules go to the mask `nodule`.

    Args:
        canvas: origin between the lungs at the height of the hilum.
        rng: random generator.
        nodules: how many nodules to put into the lungs.
    """
    fat = rng.uniform(6, 22)
    body, cage = _outline(canvas, rng), _cage(canvas)
    planes = body + 9 * canvas.field(rng, 55)  # muscles lie in layers, with fat between them
    planes = 7.5 - np.abs(planes - 17 * np.round(planes / 17))
    canvas.paint("skin", canvas.cover(body))
    canvas.paint("fat", canvas.cover(body + 2.5))
    canvas.paint("muscle", canvas.cover(np.maximum(body + fat, -planes)))
    canvas.paint("muscle", canvas.cover(cage - 5))
    canvas.paint("mediastinum", canvas.cover(cage + 4))
    lungs = _lungs(canvas, cage, rng)
    _abdomen(canvas, np.maximum(cage + 3, canvas.z - _diaphragm(canvas) + 3), rng)
    inside = canvas.paint("lung", canvas.cover(lungs))
    _lung_detail(canvas, inside, rng)
    paint_heart(canvas, rng)
    _airways(canvas)
    _ribs(canvas, cage)
    _spine(canvas)
    _shoulders(canvas)
    rough = 1.2 * canvas.field(rng, 9, reach=170)
    for _ in range(nodules):
        _nodule(canvas, lungs, rough, rng)


def _outline(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Distance to the skin: a rounded box, wider at the shoulders."""
    width = rng.uniform(164, 178) * (1 + 0.12 * expit((canvas.z - 95) / 14))
    depth = rng.uniform(108, 120)
    x, y = np.abs(canvas.x), np.abs(canvas.y + 6)
    scaled = ((x / width) ** 2.6 + (y / depth) ** 2.6) ** (1 / 2.6)
    return np.hypot(x, y) * (1 - 1 / np.maximum(scaled, 1e-3))


def _cage(canvas: Canvas) -> np.ndarray:
    """Distance to the rib cage: an oval that closes to a dome at the top."""
    shrink = np.sqrt(np.clip(1 - np.clip((canvas.z + 30) / 182, 0, 1) ** 2.6, 0.004, 1))
    x, y = np.abs(canvas.x), np.abs(canvas.y - 2)
    scaled = ((x / (138 * shrink)) ** 2.3 + (y / (90 * shrink**0.7)) ** 2.3) ** (1 / 2.3)
    return np.hypot(x, y) * (1 - 1 / np.maximum(scaled, 1e-3))


def _diaphragm(canvas: Canvas) -> np.ndarray:
    """Height of the two domes; the right one is higher."""
    dome = 1 - ((np.abs(canvas.x) - 62) / 72) ** 2 - (canvas.y / 92) ** 2
    return np.where(canvas.x > 0, -86, -98) + 42 * dome


def _lungs(canvas: Canvas, cage: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distance to the lungs: the rib cage without the mediastinum and everything below the diaphragm."""
    middle = 27 - 14 * np.clip((canvas.y - 15) / 45, 0, 1) - 8 * np.clip((canvas.z - 60) / 60, 0, 1)
    middle = middle + 2.5 * canvas.field(rng, 30, reach=180) - np.abs(canvas.x + 4)
    return np.maximum(np.maximum(cage + 7, middle), _diaphragm(canvas) - canvas.z)


def _lung_detail(canvas: Canvas, inside: np.ndarray, rng: np.random.Generator) -> None:
    """Texture, weight (denser at the back), fissures, and the vessel trees, all within the lungs."""
    span = canvas.tissues["muscle"] - canvas.tissues["lung"]
    texture = 0.012 * canvas.field(rng, 6, reach=170) + 0.012 * canvas.field(rng, 18, reach=190) - 0.0004 * canvas.y
    fissure = canvas.cover(np.abs(canvas.z + 0.9 * canvas.y + 8) - 0.4)
    canvas.image += inside * span * (texture + 0.10 * fissure)
    segments = []
    for side in (-1, 1):
        for root, radius in (((42, -14, 16), 7.0), ((40, -22, -12), 6.0)):
            targets = rng.uniform((34, -82, -120), (132, 84, 138), (1300, 3))
            targets = targets[(((targets - (70, 0, -20)) / (68, 88, 160)) ** 2).sum(1) < 1]
            segments.append(grow_tree(np.array(root) * (side, 1, 1), targets * (side, 1, 1), radius))
    filled = canvas.tree(np.concatenate(segments), np.random.default_rng(rng.integers(2**32)))
    canvas.paint("vessel", filled * inside)


def _airways(canvas: Canvas) -> None:
    """Trachea, main and first lobar bronchi: a thin wall around air; esophagus behind."""
    canvas.tube("muscle", [(-4, -30, 150), (-6, -36, 40), (-10, -46, -100)], 6)
    fork = (4, -18, 44)
    tubes: list[tuple[list[tuple[int, int, int]], list[float]]] = [
        ([(0, -12, 160), (2, -14, 100), fork], [9, 9, 9]),
        ([fork, (32, -22, 22), (50, -24, 4), (62, -36, -24)], [7.5, 6.5, 5, 2.5]),
        ([fork, (-36, -26, 18), (-54, -30, 0), (-62, -40, -26)], [7, 6, 4.5, 2.5]),
    ]
    for points, radii in tubes:
        canvas.tube("muscle", points, np.array(radii) + 1.6)
    for points, radii in tubes:
        canvas.tube("airway", points, radii)


def _abdomen(canvas: Canvas, below: np.ndarray, rng: np.random.Generator) -> None:
    """Organs below the diaphragm: liver on the right, stomach and spleen on the left, fat between."""
    cover = canvas.cover(below)
    canvas.paint("fat", cover)
    split = canvas.x + 38 - 0.25 * canvas.y + 5 * canvas.field(rng, 40, reach=180)
    canvas.paint("liver", canvas.cover(np.maximum(below + 2, -split)))
    stomach = canvas.around((-62, 22, -100), 55)
    inner = np.maximum(below[stomach] + 2, canvas.ellipsoid_distance((-62, 22, -102), (40, 38, 46), None, stomach))
    canvas.paint("muscle", canvas.cover(inner), stomach)
    level = 40 - canvas.y[stomach]  # in supine position, the gas is in front
    canvas.paint("airway", canvas.cover(np.maximum(inner + 4, level)), stomach)
    spleen = canvas.around((-92, -45, -105), 60)
    inner = np.maximum(below[spleen] + 2, canvas.ellipsoid_distance((-92, -45, -105), (34, 28, 48), None, spleen))
    canvas.paint("spleen", canvas.cover(inner), spleen)


def _ribs(canvas: Canvas, cage: np.ndarray) -> None:
    """Ribs: oblique bands on the cage, sloping down to the front, where they turn into cartilage."""
    height = canvas.z + 0.5 * canvas.y + 0.35 * np.abs(canvas.x)
    height = height - _RIB_PERIOD * np.round(height / _RIB_PERIOD)
    ring = (np.sqrt((height / 7.5) ** 2 + ((cage - 0.5) / 4.2) ** 2) - 1) * 4.5
    ring = np.maximum(ring, 26 - np.hypot(canvas.x, np.minimum(canvas.y, 0) + 70))  # the spine is drawn separately
    front = expit((canvas.y - 58) / 3)
    hard = canvas.cover(ring)
    canvas.paint("cortical", hard * (1 - front))
    canvas.paint("marrow", canvas.cover(ring + 2.2) * (1 - front))
    canvas.paint("cartilage", hard * front)
    breast = canvas.around([(0, 80, -60), (0, 96, 90)], 24)
    slab = (np.hypot(canvas.x[breast] / 18, (cage[breast] - 1) / 7) - 1) * 7
    slab = np.maximum(slab, np.maximum(20 - canvas.y[breast], np.abs(canvas.z[breast] - 18) - 80))
    canvas.paint("cortical", canvas.cover(slab), breast)
    canvas.paint("marrow", canvas.cover(slab + 1.6), breast)


def _spine(canvas: Canvas) -> None:
    """Vertebrae with discs, canal, arches, and processes along a gently curved line."""
    region = canvas.around([(0, -75, -200), (0, -95, 200)], 48)
    x, y, z = canvas.x[region], canvas.y[region], canvas.z[region]
    y = y + 58 + 14 * (1 - (z / 160) ** 2)
    height = np.abs(z - _RIB_PERIOD * np.round(z / _RIB_PERIOD))
    radius = np.sqrt((x / 18) ** 2 + (y / 15) ** 2) + 0.012 * np.clip(10 - height, 0, 10)
    body = (radius - 1) * 16
    canal = np.hypot(x, y + 23) - 8.5
    canvas.paint("muscle", canvas.cover(np.hypot(x / 1.7, y + 30) - 24), region)
    canvas.paint("disc", canvas.cover(body), region)
    solid = np.maximum(body, height - 10.5)
    canvas.paint("cortical", canvas.cover(solid), region)
    canvas.paint("marrow", canvas.cover(solid + 1.8), region)
    arch = np.maximum(np.maximum(canal - 5, -(y + 12)), height - 9)
    spinous = np.maximum(np.maximum(np.abs(x) - 3.5, np.abs(y + 46) - 16), np.abs(height - 2) - 7)
    wing = np.maximum(np.hypot((y + 25 + 0.3 * (np.abs(x) - 12)) / 1.3, height) - 5, np.abs(np.abs(x) - 22) - 14)
    bony = np.minimum(np.minimum(arch, spinous), wing)
    canvas.paint("cortical", canvas.cover(bony), region)
    canvas.paint("marrow", canvas.cover(bony + 2.4), region)
    canvas.paint("fat", canvas.cover(canal), region)
    canvas.paint("cord", canvas.cover(np.hypot(x, y + 23) - 6.5), region)


def _shoulders(canvas: Canvas) -> None:
    """Shoulder blades behind the upper ribs, and collar bones."""
    for side in (-1, 1):
        blade = canvas.around((side * 98, -76, 78), 62)
        x, y, z = side * canvas.x[blade], canvas.y[blade], canvas.z[blade]
        plate = np.abs(y + 92 - 0.42 * (x - 78)) - 3.2
        plate = np.maximum(plate, np.maximum(np.abs(x - 100) - 44 + 0.3 * (120 - z), np.abs(z - 78) - 58))
        canvas.paint("cortical", canvas.cover(plate), blade)
        canvas.paint("marrow", canvas.cover(plate + 1.6), blade)
        for tissue, radius in (("cortical", 6.0), ("marrow", 4.0)):
            points = np.array([(16, 62, 118), (60, 60, 128), (105, 20, 138), (140, -10, 142)]) * (side, 1, 1)
            canvas.tube(tissue, points, radius)


def _nodule(canvas: Canvas, lungs: np.ndarray, rough: np.ndarray, rng: np.random.Generator) -> None:
    """A rounded, lobulated nodule, solid or ground-glass, at a random place in the lungs."""
    radius, solid = float(np.exp(rng.uniform(np.log(3.5), np.log(13)))), rng.random() < 0.75
    candidates = rng.uniform((-125, -80, -90), (125, 80, 120), (400, 3)).astype(np.float32)
    first = np.array([axis[0] for axis in canvas.axes])
    voxels = np.rint((candidates - first) / canvas.spacing).astype(int)
    seen = ((voxels >= 0) & (voxels < lungs.shape)).all(1)
    voxels = voxels[seen]
    here = tuple(voxels.T)
    fits = (lungs[here] < -radius - 2) & (canvas.image[here] < (canvas.tissues["lung"] + canvas.tissues["muscle"]) / 2)
    if fits.any():
        center = voxels[int(np.argmax(fits))]
        point = [axis[tuple(center)] for axis in (canvas.x, canvas.y, canvas.z)]  # position after the warp
        radii = radius * rng.uniform(0.85, 1.15, 3)
        canvas.ellipsoid("nodule" if solid else "ground_glass", point, radii, None, rough, label="nodule")
