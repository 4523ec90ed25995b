# SPDX-License-Identifier: Apache-2.0
"""The head: scalp, skull, folded cortex, ventricles, deep gray matter, cerebellum, brain stem, eyes, and lesions."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from .shapes import Canvas


def paint_head(canvas: Canvas, rng: np.random.Generator, tumor: bool, spots: int) -> None:
    """Paint a head; lesions go to the mask `lesion` (edema and core of a tumor, white-matter spots).

    Args:
        canvas: origin in the middle of the brain.
        rng: random generator.
        tumor: whether to draw a tumor with edema around it.
        spots: how many small white-matter lesions to draw near the ventricles.
    """
    age = rng.uniform(0, 1)  # wider ventricles and sulci
    brain = _face_and_skull(canvas, rng)
    white = _cerebrum(canvas, brain, rng, age)
    _deep(canvas, rng, age)
    _hindbrain(canvas, brain, rng)
    _lesions(canvas, white, rng, tumor, spots)


def _face_and_skull(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Everything outside the brain; returns the distance to the inner table of the skull."""
    x, y, z = canvas.x, canvas.y, canvas.z
    brain = canvas.ellipsoid_distance((0, 0, 0), (68, 85, 68))
    floor = -40 + 22 * expit((y - 24) / 5) - 24 * expit((-26 - y) / 5)  # front, middle, back of the base
    floor = floor + 0.2 * np.clip(y - 30, 0, None) + 2.5 * canvas.field(rng, 25, reach=150)
    brain = np.maximum(brain, (floor + 10 * np.exp(-((y / 22) ** 2) - (x / 16) ** 2) - z) * 0.85)
    neck = np.maximum(np.hypot(x / 1.05, (y + 22 + 0.2 * (z + 60)) / 1.15) - 56, z + 20)
    face = canvas.ellipsoid_distance((0, 40, -54), (60, 59, 80))
    nose = canvas.ellipsoid_distance((0, 90, -44), (11, 17, 20))
    face = np.minimum(face, nose)
    scalp = rng.uniform(4.5, 8.5)
    vault = brain + 1.0 * canvas.field(rng, 60, reach=180)
    head = np.minimum(np.minimum(vault - 8 - scalp, neck), face)
    canvas.paint("skin", canvas.cover(head))
    canvas.paint("fat", canvas.cover(head + 2))
    below = expit((-30 - z) / 5)
    sheets = canvas.field(rng, 60, reach=180)
    planes = np.hypot(x, y + 20) + 8 * sheets
    planes = 10.0 - np.abs(planes - 21 * np.round(planes / 21))
    canvas.paint("muscle", canvas.cover(np.maximum(head + 7, -planes)) * below)
    canvas.paint("skull", canvas.cover(vault - 8 - 1.5 * canvas.field(rng, 40, reach=180)))
    canvas.paint("marrow", canvas.cover(np.abs(vault - 4.8) - 1.1) * np.clip(0.6 + 0.4 * sheets, 0, 1))
    _openings(canvas)
    _neck_and_jaw(canvas)
    canvas.paint("fluid", canvas.cover(vault - 1.0))
    return vault


def _openings(canvas: Canvas) -> None:
    """Air in nose, sinuses and throat; eyes in their fat; tongue."""
    canvas.ellipsoid("muscle", (0, 42, -92), (24, 32, 18))
    canvas.tube("air", [(0, 2, -62), (0, -2, -86), (0, -4, -130)], [7, 8, 8])
    canvas.ellipsoid("skull", (0, 76, -22), (22, 9, 13))
    for side in (-1, 1):
        canvas.ellipsoid("air", (side * 8, 46, -54), (5, 30, 16))
        canvas.ellipsoid("air", (side * 28, 54, -60), (12, 14, 15))
        canvas.ellipsoid("air", (side * 9, 79, -20), (7, 4, 8))
        canvas.ellipsoid("air", (side * 56, -28, -46), (7, 9, 10), rough=2.0)
        canvas.ellipsoid("fat", (side * 32, 66, -32), (19, 24, 18))
        canvas.tube("muscle", [(side * 32, 66, -32), (side * 16, 30, -30)], [3, 2.2])
        canvas.ellipsoid("skull", (side * 32, 74, -32), (13.5, 13.5, 13.5))
        canvas.ellipsoid("eye", (side * 32, 74, -32), (12.3, 12.3, 12.3))
        canvas.ellipsoid("muscle", (side * 32, 84, -32), (5, 2.5, 5))


def _neck_and_jaw(canvas: Canvas) -> None:
    """Cervical vertebrae with their discs, the spinal canal, jaw and palate."""
    canvas.tube("skull", [(0, -4, -58), (0, -10, -140)], 10)
    for step in range(5):
        middle = np.array([0, -5 - 1.2 * step, -66 - 16 * step])
        canvas.ellipsoid("marrow", middle, (9, 8, 6.5))
    for side in (-1, 1):
        jaw = np.array([(46, 8, -46), (44, 20, -92), (28, 62, -108), (0, 76, -110)]) * (side, 1, 1)
        canvas.tube("skull", jaw, [6, 8, 8, 8])
        canvas.tube("marrow", jaw, [3, 4.5, 4.5, 4.5])
        canvas.tube("skull", [(side * 24, 44, -76), (side * 18, 74, -78), (0, 82, -78)], 5)


def _cerebrum(canvas: Canvas, brain: np.ndarray, rng: np.random.Generator, age: float) -> np.ndarray:
    """Cortex around the zero surfaces of a random field: sulci run in from the surface. Returns white matter."""
    x, y, z = canvas.x, canvas.y, canvas.z
    gap = 0.3 + 0.9 * age
    folds = canvas.field(rng, 14, reach=110) + 0.3 * canvas.field(rng, 8, reach=110)
    reach = 21 + 3.5 * canvas.field(rng, 35, reach=150)
    sulci = np.abs(folds) * 4.6 + np.clip(-brain - reach, 0, None)
    wave = canvas.field(rng, 22, reach=150)
    core = canvas.ellipsoid_distance((0, -3, 0), (60, 41, 29))  # the hemispheres are connected within
    middle = np.abs(x + 1.2 * wave) + np.clip(-core, 0, None)
    side = np.clip(36 + 3 * wave - np.abs(x), 0, None)
    sylvian = 0.9 * np.abs(z + 2 - 0.45 * (y + 10) + 4 * wave) + side * 0.8 + np.clip(np.abs(y) - 34, 0, None)
    base = np.maximum(brain + 0.8, np.minimum(_tentorium(canvas) - z, -23 - y))
    depth = np.minimum(np.minimum(-base, sulci), np.minimum(middle, sylvian)) - gap
    canvas.paint("gray", canvas.cover(-depth))
    white = canvas.cover(3.4 - depth)
    canvas.paint("white", white)
    return white


def _tentorium(canvas: Canvas) -> np.ndarray:
    """Height of the tent between cerebrum and cerebellum: highest in the middle, sloping to the sides and back."""
    return -16 + 0.3 * (canvas.y + 30) - 0.16 * np.abs(canvas.x)


def _deep(canvas: Canvas, rng: np.random.Generator, age: float) -> None:
    """White core, basal ganglia, thalamus, and the ventricles."""
    wide = 0.8 + 0.9 * age
    rough = 0.8 * canvas.field(rng, 14, reach=110)
    for side in (-1, 1):

        def at(*point: float, side: int = side) -> np.ndarray:
            return np.array(point) * (side, 1, 1)

        canvas.ellipsoid("white", at(19, -2, 8), (20, 42, 22), rough=rough)
        canvas.ellipsoid("gray", at(24, 6, 0), (5.5, 17, 11), rough=rough)  # putamen
        canvas.ellipsoid("deep", at(18, 3, -1), (4, 10, 7), rough=rough)  # pallidum
        canvas.ellipsoid("deep", at(11, -14, 3), (9, 15, 9), rough=rough)  # thalamus
        canvas.tube("gray", [at(11, 24, 4), at(13, 16, 14), at(17, -4, 20), at(21, -22, 14)], [7, 6, 3.5, 2])  # caudate
        canvas.tube("gray", [at(24, -8, -24), at(27, -24, -18), at(22, -34, -4)], [5, 4, 3])  # hippocampus
        horn = [at(5, 30, 6), at(6.5, 16, 13), at(8, -6, 18), at(14, -28, 15), at(20, -40, 6)]
        canvas.tube("fluid", horn, np.array([2.5, 4.2, 4.0, 4.8, 5.5]) * wide)
        canvas.tube("fluid", [at(20, -40, 6), at(19, -58, 4)], np.array([4.5, 2]) * wide)
        canvas.tube("fluid", [at(20, -40, 6), at(29, -28, -12), at(30, -8, -22)], np.array([4.5, 2.6, 1.8]) * wide)
        canvas.ellipsoid("plexus", at(18, -36, 8), (2.5, 7, 3))
    canvas.ellipsoid("fluid", (0, -4, -2), (1.6 * wide, 15, 10))
    canvas.ellipsoid("fluid", (0, 6, 14), (3, 24, 8))
    _callosum(canvas)


def _callosum(canvas: Canvas) -> None:
    """The arch of white matter that joins the two hemispheres above the ventricles."""
    points = [(0, 28, 2), (0, 34, 10), (0, 26, 19), (0, 6, 25), (0, -18, 25), (0, -34, 19), (0, -38, 11)]
    for x in (-7.0, -2.5, 2.5, 7.0):
        canvas.tube("white", np.array(points) + (x, 0, 0.12 * abs(x)), [3, 3.4, 3, 2.6, 2.6, 3.4, 3.6])


def _hindbrain(canvas: Canvas, brain: np.ndarray, rng: np.random.Generator) -> None:
    """Cerebellum with folia, brain stem, fourth ventricle, tentorium."""
    region = canvas.around((0, -47, -39), 56)
    shape = canvas.ellipsoid_distance((0, -50, -42), (56, 36, 32), None, region)
    roof = (canvas.z - _tentorium(canvas))[region] + 2.5
    shape = np.maximum(np.maximum(shape, roof), np.maximum(brain[region] + 4, canvas.y[region] + 20))
    canvas.paint("fluid", canvas.cover(shape - 2.0), region)
    canvas.paint("gray", canvas.cover(shape), region)
    polar = np.hypot(canvas.y[region] + 34, canvas.z[region] + 38) + 0.16 * np.abs(canvas.x[region])
    polar = polar + 1.5 * canvas.field(rng, 25, reach=150)[region]
    leaves = np.sin(polar * 2 * np.pi / 6.5)
    canvas.paint("fluid", 0.55 * canvas.cover(np.maximum(shape, 2.6 - 3 * leaves)), region)
    canvas.paint("white", canvas.cover(np.maximum(shape + 6, -2.2 - 3.0 * leaves)) * 0.8, region)
    for side in (-1, 1):
        canvas.ellipsoid("white", (side * 20, -44, -38), (15, 11, 7))
    stem = [(0, -12, -16), (0, -14, -26), (0, -17, -46), (0, -24, -66), (0, -30, -140)]
    canvas.tube("fluid", stem, [9, 15, 16, 11, 9])
    canvas.tube("stem", stem, [10, 12, 12, 7, 6])
    canvas.ellipsoid("stem", (0, -8, -34), (15, 10, 13))
    canvas.ellipsoid("fluid", (0, -32, -38), (6, 4, 9))


def _lesions(canvas: Canvas, white: np.ndarray, rng: np.random.Generator, tumor: bool, spots: int) -> None:
    """White-matter spots near the ventricles, and one tumor: edema, an enhancing rim, a necrotic core."""
    rough = canvas.field(rng, 16, reach=110)
    for _ in range(spots):
        center = rng.uniform((12, -46, 8), (32, 36, 28)) * (rng.choice((-1, 1)), 1, 1)
        radii = rng.uniform(2, 6) * rng.uniform(0.8, 1.4, 3)
        region = canvas.around(center, 9)
        distance = canvas.ellipsoid_distance(center, radii, None, region) + 1.2 * rough[region]
        canvas.paint("lesion", canvas.cover(distance, 1.5) * (white[region] > 0.5), region, label="lesion")
    if tumor:
        center = rng.uniform((20, -45, 0), (44, 45, 34)) * (rng.choice((-1, 1)), 1, 1)
        radius = rng.uniform(9, 18)
        region = canvas.around(center, 2.4 * radius)
        distance = canvas.ellipsoid_distance(center, (radius, radius, radius), None, region) + 2.5 * rough[region]
        edema = np.maximum(distance - 0.7 * radius + 3 * rough[region], 8 - 16 * white[region])
        canvas.paint("lesion", canvas.cover(edema, 2) * 0.9, region, label="lesion")
        canvas.paint("rim", canvas.cover(distance), region, label="lesion")
        canvas.paint("core", canvas.cover(distance + 3.5 + 1.5 * rough[region]), region)
