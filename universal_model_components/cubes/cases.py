# SPDX-License-Identifier: Apache-2.0
"""Processing of one case, from its scan on disk to its file of cubes.

`prepare_case` is a function of plain values; any scheduler may call it, in any order, and again after an interruption.
A case whose file is complete and made from the same scan, modality and recipe is kept unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from .. import __version__
from ..imaging.errors import ScanError, problem_of
from ..imaging.hdf5 import case_file
from ..imaging.normalization import Scan, make_scan
from ..imaging.reading import read_scan
from ..imaging.scan_files import content_hash
from ..utils.files import write_atomically
from .case_file import encode_case, read_attributes
from .cropping import Cubes, cut_cubes
from .histograms import count_intensities, count_normalized, sample
from .recipe import RECIPE_VERSION, SCALES, Recipe, recipe_id


def prepare_case(case: Mapping[str, Any], recipe: Recipe, cube_store: str) -> dict[str, Any]:
    """Make the cubes of one case and store them, unless they are already there.

    Args:
        case: keys case, set (the name of its data set), modality and file (the scan's path); others are
            passed through.
        recipe: what to make.
        cube_store: folder to write to.

    Returns:
        The case's keys and: status ("made", "kept" or "skipped"), problem (why it was skipped), notes, counts (by
        scale), mostly_background (number of such cubes).

    Raises:
        OSError: when the store cannot be written.
    """
    target, identity = case_file(cube_store, case["case"]), recipe_id(recipe.to_dict())
    result = skipped(case, None)
    try:
        origin = {"sha256": content_hash(case["file"]), "modality": case["modality"], "recipe_id": identity}
        stored = read_attributes(target) or {}
        changed = [key for key, value in origin.items() if stored and stored.get(key) != value]
        if stored and not changed:
            kept = {"counts": stored["counts"].tolist(), "mostly_background": int(stored["mostly_background"])}
            return {**result, "status": "kept", **kept}
        scan, cubes, values = cut_case(case, recipe)
        origin |= {"mostly_background": cubes.mostly_background, **_provenance(case, scan, recipe)}
        origin |= _histograms(values, scan, case, recipe)
        content = encode_case(cubes, origin)
    except OSError:
        raise
    except Exception as error:  # no single scan may stop the others
        return skipped(case, problem_of(case["file"], error))
    notes = list(scan.notes)
    if changed:
        old = {"sha256": "scan", "recipe_id": "recipe"}.get(changed[0], changed[0])
        notes.append(f"{case['file']}: another {old} than that of its stored cubes: they are made again")
    write_atomically(target, lambda path: path.write_bytes(content))
    made = {"counts": cubes.counts, "mostly_background": cubes.mostly_background}
    return {**result, "status": "made", "notes": notes, **made}


def case_version() -> str:
    """Return the version of this package and of its recipes."""
    return f"{__version__} (recipe {RECIPE_VERSION})"


def skipped(case: Mapping[str, Any], problem: str | None) -> dict[str, Any]:
    """Return the result of a case that gave no cubes."""
    counts = {"counts": [0] * len(SCALES), "mostly_background": 0}
    return {**case, "status": "skipped", "problem": problem, "notes": [], **counts}


def cut_case(case: Mapping[str, Any], recipe: Recipe) -> tuple[Scan, Cubes, Tensor]:
    """Read the scan of a case and cut its cubes; nothing is written.

    Returns:
        The scan, its cubes, and a sample of its intensities as stored in the file.

    Raises:
        ScanError: when the scan cannot be used.
    """
    modality = case["modality"]
    window, scale = recipe.intensity_range[modality], recipe.intensity_scale[modality]
    voxels, affine = read_scan(case["file"])
    values = sample(voxels)
    if voxels.dtype == np.float64:  # from a scaled file: a float32 copy frees half of the memory
        voxels = voxels.astype(np.float32)
    crop = recipe.foreground_crop[modality]
    scan = make_scan(case["file"], voxels, affine, window, scale, recipe.spacing, crop)
    del voxels
    try:
        return scan, cut_cubes(scan.volume, scan.spacing, recipe, case["case"], case["set"]), values
    except ValueError as error:
        raise ScanError(f"{case['file']}: {error}") from error


def _histograms(values: Tensor, scan: Scan, case: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return the histograms for the report: a kept case has them too."""
    counts, ends = count_intensities(values, recipe.intensity_range[case["modality"]])
    return {"histogram": counts, "histogram_range": ends, "histogram_normalized": count_normalized(scan.volume)}


def _provenance(case: Mapping[str, Any], scan: Scan, recipe: Recipe) -> dict[str, Any]:
    return {
        "case": case["case"],
        "set": case["set"],
        "recipe": json.dumps(recipe.to_dict(), sort_keys=True),
        "package_version": __version__,
        "affine": scan.affine,
        "spacing": scan.spacing,
        "shape": tuple(scan.volume.shape),
        "source_shape": scan.source_shape,
        "source_spacing": scan.source_spacing,
        "cropped_shape": scan.cropped_shape,
    }
