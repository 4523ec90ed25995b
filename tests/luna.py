# SPDX-License-Identifier: Apache-2.0
"""A LUNA16 in miniature: MetaImage pairs under their true kind of name, nodules at known places, candidates.csv."""

from __future__ import annotations

import json
from pathlib import Path

import itk
import numpy as np

PREFIX = "1.3.6.1.4.1.14519.5.2.1.6279.6001."


def write_metaimage(file: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """Write `.mhd` and `.raw` as LUNA16's are; voxels are indexed (x, y, z), the affine is RAS."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(itk.matrix_from_array(lps[:, :3] / spacing))
    image.SetOrigin(lps[:, 3].tolist())
    itk.imwrite(image, str(file))
    return file


def world(voxel: np.ndarray, affine: np.ndarray) -> list[float]:
    """Where a voxel lies, mm in LPS, as LUNA16's CSV has it."""
    return (np.array([-1.0, -1.0, 1.0]) * (affine[:3, :3] @ voxel + affine[:3, 3])).tolist()


def write_luna16(folder: Path, scans: int = 4, side: int = 40, nodules: int = 2, others: int = 3) -> list[dict]:
    """Fill `folder` with scans whose positive candidates are bright balls, and return the datalist's entries."""
    rng, entries, lines = np.random.default_rng(0), [], ["seriesuid,coordX,coordY,coordZ,class"]
    for number in range(scans):
        uid = f"{PREFIX}{100000 + number}"
        affine = np.diag([-1.0, -1.0, 1.25, 1.0])  # LUNA16's axes are LPS
        affine[:3, 3] = rng.uniform(-200, 200, 3).round(2)
        voxels = rng.normal(-850, 30, (side, side, side))
        grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1)
        candidates = []
        for place in range(nodules + others):
            center = rng.integers(6, side - 6, 3)
            positive = place < nodules
            if positive:
                voxels[np.linalg.norm(grid - center, axis=-1) < 4] = 100
            candidates.append([*np.round(world(center, affine), 4), int(positive)])
        image = write_metaimage(folder / "subset0" / f"{uid}.mhd", voxels.astype(np.int16), affine)
        lines += [",".join([uid, *map(str, candidate)]) for candidate in candidates]
        entries.append(
            {
                "image": str(image.relative_to(folder)),
                "modality": "ct",
                "case": uid,
                "group": uid,
                "seriesuid": uid,
                "candidates": [[float(value) for value in candidate] for candidate in candidates],
            }
        )
    (folder / "candidates.csv").write_text("\n".join(lines) + "\n")
    return entries


def write_datalist(folder: Path, training: list[dict], validation: list[dict], test: list[dict]) -> Path:
    """Write `datalist.json` beside the scans."""
    content = {"name": "miniature", "version": 1, "seed": 0, "root": str(folder)}
    content |= {"training": training, "validation": validation, "test": test}
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder / "datalist.json"
