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
from ..datalists.fingerprints import count_intensities as count_voxels
from ..datalists.fingerprints import fingerprint
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

FLAT_SHARE = 0.95  # as `Recipe.air_share` of a crop


class _FlatScanError(ScanError):
    """A scan that has no structure within its window."""


def prepare_case(
    case: Mapping[str, Any], recipe: Recipe, cube_store: str, flat_share: float = FLAT_SHARE
) -> dict[str, Any]:
    """Make the cubes of one case and store them, unless they are already there.

    Args:
        case: keys case, set (the name of its data set), modality, file (the scan's path) and, where known, the scan's
            fingerprint; others are passed through.
        recipe: what to make.
        cube_store: folder to write to.
        flat_share: a scan is skipped where more than this share of its voxels has one intensity after clipping.

    Returns:
        The case's keys and: status ("made", "kept", "flat" or "skipped"), problem (why it was left out), notes, counts
        (by scale), mostly_background (number of such cubes), fingerprint (None where it is not known).

    Raises:
        OSError: when the store cannot be written.
    """
    target, identity = case_file(cube_store, case["case"]), recipe_id(recipe.to_dict())
    result = skipped(case, None)
    try:
        origin = {"sha256": content_hash(case["file"]), "modality": case["modality"], "recipe_id": identity}
        origin |= {"case": case["case"]}
        stored = read_attributes(target) or {}
        changed = [key for key, value in origin.items() if stored and stored.get(key) != value]
        if stored and not changed:
            _check_flat(case, recipe, stored.get("histogram_normalized"), flat_share)
            return {**result, "status": "kept", **_kept(stored)}
        scan, cubes, values, mark = cut_case(case, recipe)
        origin |= {"mostly_background": cubes.mostly_background, **_provenance(case, scan, recipe)}
        origin |= {"fingerprint": json.dumps(mark), **_histograms(values, scan, case, recipe)}
        _check_flat(case, recipe, origin["histogram_normalized"], flat_share)
        content = encode_case(cubes, origin)
    except OSError:
        raise
    except _FlatScanError as error:
        return {**skipped(case, str(error)), "status": "flat"}
    except Exception as error:  # no single scan may stop the others
        return skipped(case, problem_of(case["file"], error))
    notes = list(scan.notes)
    if changed:
        old = {"sha256": "scan", "recipe_id": "recipe"}.get(changed[0], changed[0])
        notes.append(f"{case['file']}: another {old} than that of its stored cubes: they are made again")
    write_atomically(target, lambda path: path.write_bytes(content))
    made = {"counts": cubes.counts, "mostly_background": cubes.mostly_background, "fingerprint": mark}
    return {**result, "status": "made", "notes": notes, **made}


def case_version() -> str:
    """Return the version of this package and of its recipes."""
    return f"{__version__} (recipe {RECIPE_VERSION})"


def skipped(case: Mapping[str, Any], problem: str | None) -> dict[str, Any]:
    """Return the result of a case that gave no cubes."""
    counts = {"counts": [0] * len(SCALES), "mostly_background": 0, "fingerprint": None}
    return {**case, "status": "skipped", "problem": problem, "notes": [], **counts}


def _kept(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file of an earlier run says; one without a fingerprint is still known by its scan's bytes."""
    mark = json.loads(stored.get("fingerprint", "null")) or {"voxels": stored["sha256"], "places": "", "levels": []}
    counts = {"counts": stored["counts"].tolist(), "mostly_background": int(stored["mostly_background"])}
    return {**counts, "fingerprint": mark}


def _fingerprint(case: Mapping[str, Any], voxels: np.ndarray) -> dict[str, Any]:
    """Return the scan's fingerprint, from its datalist if that has one."""
    given = case.get("fingerprint")
    if isinstance(given, Mapping) and isinstance(given.get("voxels"), str):
        return dict(given)
    return fingerprint(voxels, *count_voxels(voxels))


def _check_flat(case: Mapping[str, Any], recipe: Recipe, histogram: np.ndarray | None, limit: float) -> None:
    """Reject a scan most of whose voxels fell into one bin of the histogram after normalization.

    Raises:
        _FlatScanError: naming the share and both keys.
    """
    if histogram is None:  # of an earlier version
        return
    share = float(histogram.max() / histogram.sum())
    if share > limit:
        window = recipe.intensity_range[case["modality"]]
        found = f"{share:.1%} of the voxels have one intensity after clipping to {window}"
        raise _FlatScanError(f"{case['file']}: {found}: left out, see flat_share ({limit:g}) and intensity_range")


def cut_case(case: Mapping[str, Any], recipe: Recipe) -> tuple[Scan, Cubes, Tensor, dict[str, Any]]:
    """Read the scan of a case and cut its cubes; nothing is written.

    Returns:
        The scan, its cubes, a sample of its intensities as stored in the file, and its fingerprint.

    Raises:
        ScanError: when the scan cannot be used.
    """
    modality = case["modality"]
    window, scale = recipe.intensity_range[modality], recipe.intensity_scale[modality]
    voxels, affine = read_scan(case["file"])
    values = sample(voxels)
    mark = _fingerprint(case, voxels)
    if voxels.dtype == np.float64:  # from a scaled file: a float32 copy frees half of the memory
        voxels = voxels.astype(np.float32)
    crop = recipe.foreground_crop[modality]
    scan = make_scan(case["file"], voxels, affine, window, scale, recipe.spacing, crop)
    del voxels
    try:
        return scan, cut_cubes(scan.volume, scan.spacing, recipe, case["case"], case["set"]), values, mark
    except ValueError as error:
        raise ScanError(f"{case['file']}: {error}") from error


def _histograms(values: Tensor, scan: Scan, case: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return the histograms for the report: a kept case has them too."""
    counts, ends = count_intensities(values, recipe.intensity_range[case["modality"]])
    return {"histogram": counts, "histogram_range": ends, "histogram_normalized": count_normalized(scan.volume)}


def _provenance(case: Mapping[str, Any], scan: Scan, recipe: Recipe) -> dict[str, Any]:
    return {
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
