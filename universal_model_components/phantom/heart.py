# SPDX-License-Identifier: Apache-2.0
"""The heart and the great vessels, drawn into a chest: four chambers, myocardium, aorta, pulmonary artery and veins."""

from __future__ import annotations

import numpy as np

from .shapes import Canvas

HEART = np.array([-23.0, 14.0, -28.0])  # mm, middle of the heart in the chest's coordinates
_LONG_AXIS = np.array([-0.62, 0.58, -0.53])  # from the base to the apex: left, front, down


def _frame(direction: np.ndarray) -> np.ndarray:
    """Rows: the unit direction and two directions across it."""
    first = direction / np.linalg.norm(direction)
    second = np.cross(first, [0.0, 0.0, 1.0])
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])


def paint_heart(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint heart and great vessels; the mask `left_atrium` is its body, its appendage and the ostia of the veins.

    Args:
        canvas: with the tissues heart_fat, myocardium, blood_left, blood_right, blood_aorta, muscle.
        rng: random generator.
    """
    axes = _frame(_LONG_AXIS + 0.08 * rng.standard_normal(3))
    grow = rng.uniform(0.9, 1.1)
    rough = 1.6 * canvas.field(rng, 22, reach=130)

    def at(x: float, y: float, z: float) -> np.ndarray:
        return HEART + grow * np.array([x, y, z])

    canvas.ellipsoid("heart_fat", at(0, 6, 0), np.array([62, 46, 46]) * grow, axes, rough)
    _ventricles(canvas, at, axes, grow, rng.uniform(8, 12), rough)
    canvas.ellipsoid("muscle", at(36, 2, 6), np.array([26, 27, 33]) * grow, None, rough)  # wall of the right atrium
    canvas.ellipsoid("blood_right", at(36, 2, 6), np.array([24, 25, 31]) * grow, None, rough)
    _great_vessels(canvas, at, rng)
    _left_atrium(canvas, at, grow, rough, rng)


def _ventricles(canvas: Canvas, at, axes: np.ndarray, grow: float, wall: float, rough: np.ndarray) -> None:
    """Right ventricle, then the left one over it, so that the septum is the wall of the left one."""
    left, right = at(-16, 8, -6), at(10, 26, -8)
    canvas.ellipsoid("myocardium", right, np.array([49, 27, 33]) * grow, axes, rough)
    canvas.ellipsoid("blood_right", right, np.array([46, 24, 30]) * grow, axes, rough)
    outer = np.array([50, 31, 31]) * grow
    canvas.ellipsoid("myocardium", left, outer, axes, rough)
    canvas.ellipsoid("blood_left", left - 3 * axes[0], outer - wall, axes, 1.5 * rough)
    for turn in (0.6, 2.4):  # papillary muscles
        side = np.cos(turn) * axes[1] + np.sin(turn) * axes[2]
        root = left + 11 * side
        canvas.tube("myocardium", [root + 14 * axes[0], root - 6 * axes[0]], [4.5, 2.5])


def _great_vessels(canvas: Canvas, at, rng: np.random.Generator) -> None:
    """Aorta from root to diaphragm, pulmonary artery, venae cavae."""
    width = rng.uniform(11.5, 15.0)
    rise = rng.uniform(-6, 10)
    aorta = [at(2, 2, 16), at(14, 12, 38), at(18, 12, 66), at(12, 0, 90 + rise), at(-4, -22, 100 + rise)]
    aorta += [at(-14, -48, 90 + rise), at(-16, -64, 66), at(-12, -70, 20), at(-8, -74, -50), at(-4, -72, -130)]
    radii = width * np.array([1.15, 1.05, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7])
    trunk = [at(-8, 34, 18), at(-12, 30, 36), at(-8, 10, 52)]
    branches = [
        [at(-8, 10, 52), at(18, -10, 52), at(52, -16, 46)],
        [at(-8, 10, 52), at(-30, -18, 56), at(-52, -30, 48)],
    ]
    for points in branches:
        canvas.tube("blood_right", points, [11, 9.5, 7])
    canvas.tube("blood_right", trunk, [14, 13, 12.5])
    canvas.tube("blood_right", [at(36, 2, 28), at(36, 4, 64), at(26, 8, 110)], [10, 9, 8])
    canvas.tube("blood_right", [at(34, -8, -18), at(36, -20, -60)], [12, 12])
    canvas.tube("muscle", aorta, radii + 1.6)
    canvas.tube("blood_aorta", aorta, radii)
    for start, stop in ((at(12, 0, 92 + rise), at(20, 4, 150)), (at(-10, -30, 98 + rise), at(-20, -18, 150))):
        canvas.tube("blood_aorta", [start, stop], [6, 4.5])  # arteries to head and arms


def _left_atrium(canvas: Canvas, at, grow: float, rough: np.ndarray, rng: np.random.Generator) -> None:
    """The left atrium with four pulmonary veins and its appendage."""
    middle = at(4, -34, 16)
    radii = np.array([31, 19, 23]) * grow * rng.uniform(0.9, 1.15, 3)
    canvas.ellipsoid("muscle", middle, radii + 2, None, rough)
    for side in (-1, 1):
        for lift, back in ((15, -4), (-9, -10)):
            mouth = middle + [side * 0.75 * radii[0], back, lift * 0.8]
            gate = middle + [side * (radii[0] + 9), back - 3, lift]
            canvas.tube("blood_left", [mouth, gate], [8, 6.5], label="left_atrium")
            canvas.tube("blood_left", [gate, gate + [side * 24, -10, 0.7 * lift]], [6.5, 4])
    ear = middle + [-0.7 * radii[0], 12, 6]
    canvas.tube("blood_left", [ear, ear + [-14, 14, 4], ear + [-8, 26, 6]], [7, 6.5, 4], label="left_atrium")
    canvas.ellipsoid("blood_left", middle, radii, None, rough, label="left_atrium")
