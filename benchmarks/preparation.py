# SPDX-License-Identifier: Apache-2.0
"""From a CT on disk to stored cubes, beside the straightforward MONAI pipeline; and two cores beside one.

    python benchmarks/preparation.py [--rounds 2] [--shape 512 512 200] [--cases 4]

Both sides read the same `.nii.gz`, resample it to 1 mm by a third-order spline, window it, cut the same number of
cubes at each scale (16 large, 16 medium, 32 small), resize them to 64×64×32 and write them. MONAI's side: `LoadImaged`,
`Orientationd`, `Spacingd(mode=3)`, `ScaleIntensityRanged`, then for each cube `RandSpatialCropd` and `Resized`, saved
as float32. Ours: `prepare_case`, which also hashes the file, rejects air, filters what shrinks, collects histograms and
compresses. Processor time of one process with one thread, so that other processes disturb it little; best of the
rounds, taken in turn. No matrix is cached between rounds, as scans differ in spacing.
"""

from __future__ import annotations

import argparse
import cProfile
import gzip
import os
import pstats
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.transforms import (
    Compose,
    LoadImaged,
    Orientationd,
    RandSpatialCropd,
    Resized,
    ScaleIntensityRanged,
    Spacingd,
)

from universal_model_components.cubes.cases import prepare_case
from universal_model_components.cubes.cropping import crop_shape
from universal_model_components.cubes.recipe import SCALES, Recipe
from universal_model_components.imaging.resampling import _axis_matrix
from universal_model_components.phantom import draw_thorax_ct
from universal_model_components.utils.parallel import run_parallel, usable_cores

SPACING = (0.74, 0.74, 1.25)  # mm: the median of LUNA2016 (Table I)


def draw_ct(file: Path, shape: tuple[int, ...]) -> None:
    """Write a synthetic chest CT with a scanner's axes."""
    file.parent.mkdir(parents=True)
    nifti = draw_thorax_ct(0, shape, SPACING, axcodes="LPS").nifti()
    file.write_bytes(gzip.compress(nifti.to_bytes(), compresslevel=4))


def monai_pipeline(file: Path, target: Path, recipe: Recipe) -> int:
    """Prepare a CT as a MONAI user would write it down; return the number of cubes."""
    read = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=recipe.spacing, mode=3),
            ScaleIntensityRanged("image", -1000, 1000, 0, 1, clip=True),
        ]
    )
    volume = read({"image": str(file)})
    cubes = []
    for name in SCALES:
        side = crop_shape(volume["image"].shape[1:], recipe.crop_fractions[name])
        cut = Compose([RandSpatialCropd("image", side, random_size=False), Resized("image", recipe.patch_size)])
        cubes += [cut(volume)["image"].numpy() for _ in range(recipe.cubes_per_volume[name])]
    np.save(target, np.stack(cubes))
    return len(cubes)


def ours(file: Path, folder: Path, recipe: Recipe) -> int:
    """Prepare the same CT with this package; return the number of cubes."""
    _axis_matrix.cache_clear()
    shutil.rmtree(folder, ignore_errors=True)
    result = prepare_case(
        {"case": "ct/drawn", "set": "drawn", "modality": "ct", "file": str(file)}, recipe, str(folder)
    )
    assert result["status"] == "made", result
    return sum(result["counts"])


def cpu_seconds(function: Callable[[], int]) -> tuple[float, int]:
    start = time.process_time()
    count = function()
    return time.process_time() - start, count


def compare(file: Path, folder: Path, recipe: Recipe, rounds: int) -> None:
    """Print cubes for each second of one core on both sides."""
    torch.set_num_threads(1)
    sides: dict[str, Callable[[], int]] = {
        "MONAI": lambda: monai_pipeline(file, folder / "monai.npy", recipe),
        "prepare_case": lambda: ours(file, folder / "store", recipe),
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        counts = []
        for name, run in sides.items():
            seconds, count = cpu_seconds(run)
            taken[name].append(seconds)
            counts.append(count)
        assert counts[0] == counts[1], counts
    best = {name: min(times) for name, times in taken.items()}
    for name, times in taken.items():
        shown = ", ".join(f"{value:.2f}" for value in times)
        print(f"{name:<14}{counts[0]} cubes in {best[name]:.2f} s of one core (rounds: {shown})", flush=True)
    print(f"ratio: {best['MONAI'] / best['prepare_case']:.1f} times MONAI's pipeline per core", flush=True)


def show_limits(file: Path, folder: Path, recipe: Recipe) -> None:
    """Print what our side spends its time on."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(ours, file, folder / "profiled", recipe)
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])  # type: ignore[attr-defined]
    print("what limits it, own time of functions:")
    for (_, _, name), (_, calls, own, _, _) in rows[:10]:
        print(f"  {own / total:5.0%}  {own:6.2f} s  {calls:>6} calls  {name}")


def timed_case(case: dict[str, str], recipe: Recipe, store: str) -> tuple[float, float]:
    """Prepare a case in a worker; return its processor seconds and the time at its end."""
    start = time.process_time()
    assert prepare_case(case, recipe, store)["status"] == "made"
    return time.process_time() - start, time.time()


def scale(file: Path, folder: Path, recipe: Recipe, cases: int, rounds: int) -> None:
    """Print how many more scans two processes prepare in the same time than one.

    The first scan of each process is left out: it pays for the start. On a machine that others use too, elapsed time
    says how much of the cores they left, so processor seconds for each scan are given as well: were both cores free,
    two processes would be twice as fast, less what each scan takes longer beside another one.
    """
    files = [folder / f"copy_{number}.nii.gz" for number in range(cases + 2)]
    for copy in files:
        os.link(file, copy) if file.stat().st_dev == folder.stat().st_dev else shutil.copy(file, copy)

    def run(workers: int) -> tuple[float, float]:
        store = folder / f"store_{workers}"
        shutil.rmtree(store, ignore_errors=True)
        calls = [
            ({"case": f.name, "set": "drawn", "modality": "ct", "file": str(f)}, recipe, str(store)) for f in files
        ]
        ends = list(run_parallel(timed_case, calls[: cases + workers], workers))
        busy = [seconds for seconds, _ in ends[workers:]]
        return cases / (ends[-1][1] - ends[workers - 1][1]), sum(busy) / len(busy)

    print(f"scans a second, {cases} of them after the start of each process:")
    found = []
    for _ in range(rounds):
        one, two = run(1), run(2)
        found.append((two[0] / one[0], 2 * one[1] / two[1]))
        print(
            f"  one process {one[0]:.3f} ({one[1]:.2f} CPU s a scan), two {two[0]:.3f} ({two[1]:.2f} CPU s a scan): "
            f"{found[-1][0]:.2f} times; by processor time {found[-1][1]:.2f}; load average {os.getloadavg()[0]:.1f} "
            f"on {usable_cores()} cores",
            flush=True,
        )
    print(f"best of {rounds}: {max(r for r, _ in found):.2f} times; by processor time {max(r for _, r in found):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 200])
    parser.add_argument("--cases", type=int, default=6, help="scans for the comparison of two cores with one")
    parser.add_argument("--scan", type=Path, help="a CT of your own instead of the drawn one")
    settings = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="preparation_"))
    try:
        file = settings.scan or folder / "scans" / "drawn.nii.gz"
        if settings.scan is None:
            draw_ct(file, tuple(settings.shape))
        print(f"{file.name}: {file.stat().st_size / 1e6:.0f} MB", flush=True)
        compare(file, folder, Recipe(), settings.rounds)
        show_limits(file, folder, Recipe())
        scale(file, folder, Recipe(), settings.cases, settings.rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
