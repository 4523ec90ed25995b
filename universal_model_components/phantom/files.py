# SPDX-License-Identifier: Apache-2.0
"""Folders of synthetic scans that differ in anatomy, size, spacing, axes and obliqueness, as real ones do."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..utils.files import write_atomically, write_json
from .scans import Phantom, draw_brain_mri, draw_heart_ct, draw_heart_mri, draw_thorax_ct

KINDS: dict[str, list[tuple[str, Callable[..., Phantom]]]] = {
    "ct": [("thorax", draw_thorax_ct), ("heart", draw_heart_ct)],
    "mri": [("brain", draw_brain_mri), ("heart", draw_heart_mri)],
}
AXCODES = ("RAS", "LPS", "LAS", "LAI", "PIR", "PSR")


def write_phantoms(
    folder: str | Path,
    cases_per_modality: int = 6,
    seed: int = 0,
    shape: Sequence[int] | None = None,
    progress: bool = True,
) -> list[Path]:
    """Draw scans into `folder/ct` and `folder/mri`, as `thorax_000.nii.gz`, `heart_000.nii.gz`, `brain_000.nii.gz`.

    Args:
        folder: where to write; created when missing. Files are written atomically.
        cases_per_modality: how many scans of each modality; the kinds of anatomy alternate.
        seed: the same seed gives the same files.
        shape: voxels along right, front, up, for all scans; drawn for each scan when absent.
        progress: show a progress bar.

    Returns:
        The files, CT first.

    Raises:
        ValueError: when `cases_per_modality` is below 1.
        OSError: when a file cannot be written; the message names it.
    """
    if cases_per_modality < 1:
        raise ValueError(f"cases_per_modality is {cases_per_modality}, expected at least 1")
    cases = [(modality, case) for modality in KINDS for case in range(cases_per_modality)]
    files = []
    for modality, case in tqdm(cases, desc="drawing scans", unit="scan", disable=not progress):
        kinds = KINDS[modality]
        name, draw = kinds[case % len(kinds)]
        phantom = _draw(draw, [seed, list(KINDS).index(modality), case], shape)
        files.append(Path(folder) / modality / f"{name}_{case // len(kinds):03d}.nii.gz")
        _write(phantom, files[-1])
    return files


def write_labeled_phantoms(
    folder: str | Path, cases: int = 6, seed: int = 0, shape: Sequence[int] | None = None
) -> Path:
    """Draw heart MRI with masks of the left atrium, and a datalist whose validation list is the second half.

    Args:
        folder: where `images`, `labels` and `datalist.json` go. None of the scans is one of `write_phantoms`'s.
        cases: how many.
        seed: the same seed gives the same files.
        shape: as for `write_phantoms`.

    Returns:
        The datalist; its paths are relative to `folder`.

    Raises:
        OSError: when a file cannot be written; the message names it.
    """
    entries = []
    for case in range(cases):
        phantom = _draw(draw_heart_mri, [seed, len(KINDS), case], shape)
        entry = {key: f"{key}s/heart_{case:03d}.nii.gz" for key in ("image", "label")}
        _write(phantom, Path(folder) / entry["image"])
        _write(phantom, Path(folder) / entry["label"], "left_atrium")
        entries.append(entry)
    half = (cases + 1) // 2
    datalist = Path(folder) / "datalist.json"
    write_json(datalist, {"training": entries[:half], "validation": entries[half:]})
    return datalist


def _draw(draw: Callable[..., Phantom], seeds: Sequence[int], shape: Sequence[int] | None) -> Phantom:
    rng = np.random.default_rng(seeds)
    drawn = (int(rng.integers(112, 145)), int(rng.integers(112, 145)), int(rng.integers(64, 105)))
    axcodes, tilt = str(rng.choice(AXCODES)), float(rng.choice((0.0, 0.0, rng.uniform(-15, 15))))
    return draw(int(rng.integers(2**31)), tuple(shape or drawn), axcodes=axcodes, tilt=tilt)


def _write(phantom: Phantom, file: Path, mask: str | None = None) -> None:
    """Write the scan, or its mask of that name, as `.nii.gz`: the same bytes for the same scan."""
    content = gzip.compress(phantom.nifti(mask).to_bytes(), compresslevel=4, mtime=0)
    write_atomically(file, partial(Path.write_bytes, data=content))
