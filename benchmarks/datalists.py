# SPDX-License-Identifier: Apache-2.0
"""Datalists: one pass over a CT (read, hash, fingerprint) by its parts, and a second run beside a first.

    python benchmarks/datalists.py

All figures are of one run, the best of three; times are of the process, with one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import itk
import nibabel
import numpy as np

from universal_model_components.datalists.fingerprints import count_intensities, fingerprint
from universal_model_components.datalists.inspection import inspect_file, inspect_files
from universal_model_components.imaging.reading import read_scan
from universal_model_components.imaging.scan_files import content_hash


def seconds(work: Callable[[], object]) -> float:
    """Return the shortest of three times."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        voxels = np.random.default_rng(0).normal(-300, 300, (512, 512, 200)).astype(np.int16)
        nifti, meta = Path(folder) / "a.nii.gz", Path(folder) / "a.mhd"
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), nifti)
        itk.imwrite(itk.image_from_array(voxels.T.copy()), str(meta))
        counted = count_intensities(voxels)
        parts = {
            "MetaImage, whole pass": seconds(lambda: inspect_file({"file": str(meta), "kind": "image"})),
            "  reading": seconds(lambda: read_scan(meta)),
            "  SHA-256": seconds(lambda: content_hash(meta)),
            "  counting intensities": seconds(lambda: count_intensities(voxels)),
            "  (sorting int16)": seconds(lambda: np.unique(voxels, return_counts=True)),
            "  (sorting float32)": seconds(lambda: np.unique(voxels.astype(np.float32), return_counts=True)),
            "  (sorting float64)": seconds(lambda: np.unique(voxels.astype(np.float64), return_counts=True)),
            "  fingerprint": seconds(lambda: fingerprint(voxels, *counted)),
            "NIfTI .gz, whole pass": seconds(lambda: inspect_file({"file": str(nifti), "kind": "image"})),
        }
        print("512×512×200 int16                 s   of the pass")
        for name, value in parts.items():
            print(f"{name:<28}{value:>7.3f}{value / parts['MetaImage, whole pass']:>12.2f}")
        jobs, cache = [{"file": str(meta), "kind": "image"}], Path(folder) / "cache.jsonl"
        inspect_files(jobs, cache, 0)
        again = seconds(lambda: inspect_files(jobs, cache, 0))
        print(f"a second run: {again * 1e3:.1f} ms, {parts['MetaImage, whole pass'] / again:.0f} times faster")


if __name__ == "__main__":
    main()
