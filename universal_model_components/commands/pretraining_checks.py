# SPDX-License-Identifier: Apache-2.0
"""Checks of pre-training's data by `doctor`: a finished store of cubes, and scans to make one from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..cubes.store import case_records
from ..datalists.folder import folder_datalist
from ..imaging.reading import header_notes, read_grid
from ..tasks.findings import ERROR, FINE, NEEDED, WARNING, Finding


def check_store(cube_store: str | Path, modalities: Sequence[str]) -> Iterator[Finding]:
    """Check the cubes that pre-training reads."""
    for split in NEEDED:
        try:
            cases = case_records(cube_store, split, modalities)
        except (OSError, ValueError) as error:
            yield Finding(ERROR, str(error))
            return
        cubes = sum(sum(case["counts"]) for case in cases)
        yield Finding(FINE, f"cube_store: {cubes} cubes of {len(cases)} {split!r} cases in {cube_store}")


def check_folder(dataset_dir: str | Path, modalities: Sequence[str]) -> Iterator[Finding]:
    """Check the headers of the scans that prepare.json would make cubes from."""
    content, problems = folder_datalist(dataset_dir, modalities)
    scans = [entry["image"] for split in NEEDED for entry in content[split]]
    for scan in scans:
        try:
            read_grid(Path(dataset_dir) / scan)
            problems += header_notes(Path(dataset_dir) / scan)
        except ValueError as error:
            problems.append(str(error))
    yield from (Finding(WARNING, problem) for problem in problems)
    yield Finding(FINE, f"dataset_dir: {len(scans)} scans below {dataset_dir}, headers read")
