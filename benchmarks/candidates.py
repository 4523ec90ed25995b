# SPDX-License-Identifier: Apache-2.0
"""LNC inference: a scan with many candidates, read and resampled once, beside work candidate by candidate.

    python benchmarks/candidates.py [--shape 512 512 240] [--candidates 500] [--features 8 16 32 64] [--cpu_time]

All three end in the same cubes. The two that work candidate by candidate are timed on `--sample` candidates and
multiplied: one normalizes the whole scan each time, the other reads it, cuts a generous box and normalizes only that.
The network is timed apart: it is the same for all. Ratios are of one run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import itk
import numpy as np
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from universal_model_components.imaging.normalization import load_scan, make_scan
from universal_model_components.imaging.reading import read_scan
from universal_model_components.imaging.transforms import NormalizeScand
from universal_model_components.inference.classification import CandidateInferer, CandidateVoxelsd
from universal_model_components.method.models import ClassificationModel
from universal_model_components.tasks.candidates import cut_cube, cut_cubes_at, nearest_voxels

SPACING, PATCH, WINDOW = (0.74, 0.74, 1.25), (64, 64, 32), (-1000.0, 1000.0)
MARGIN = 24  # mm beyond the cube: a spline reaches some 17 voxels


def write_scan(file: Path, shape: list[int], count: int) -> list[list[float]]:
    """Write noise in HU as LUNA16's files are, and return candidates in it, mm, LPS."""
    rng = np.random.default_rng(0)
    image = itk.image_from_array(rng.integers(-1000, 400, shape[::-1]).astype(np.int16))
    image.SetSpacing(SPACING)
    image.SetOrigin((-190.0, -180.0, -320.0))
    itk.imwrite(image, str(file))
    low, high = np.array(shape) * 0.2, np.array(shape) * 0.8
    return (rng.uniform(low, high, (count, 3)) * SPACING + (-190.0, -180.0, -320.0)).tolist()


def together(file: Path, candidates: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The bundle's preprocessing: the normalized scan (1, 1, H, W, D) and the candidates' voxels (1, N, 3)."""
    transforms = [
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        NormalizeScand("image", WINDOW, "range"),
        CandidateVoxelsd("candidates"),
    ]
    item = Compose(transforms)({"image": str(file), "candidates": candidates})
    return item["image"].as_tensor()[None], item["candidates"][None]


def one_by_one(file: Path, candidate: list[float]) -> np.ndarray:
    """Read and resample the whole scan for one cube."""
    scan = load_scan(file, WINDOW, "range")
    return cut_cube(scan.volume.numpy(), nearest_voxels([candidate], scan.affine)[0].tolist(), PATCH)


def box_by_box(file: Path, candidate: list[float]) -> np.ndarray:
    """Read the whole scan, but resample only a box around the candidate."""
    voxels, affine = read_scan(file)
    at = nearest_voxels([candidate], affine)[0].numpy()
    reach = np.ceil((np.array(PATCH) / 2 + MARGIN) / SPACING).astype(int)
    begin, end = np.maximum(0, at - reach), np.minimum(voxels.shape, at + reach)
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ begin
    scan = make_scan(file, voxels[tuple(map(slice, begin, end))], shifted, WINDOW, "range")
    return cut_cube(scan.volume.numpy(), nearest_voxels([candidate], scan.affine)[0].tolist(), PATCH)


def best(function: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the least of several times: other work on the machine only adds."""
    times = []
    for _ in range(rounds):
        start = clock()
        function()
        times.append(clock() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 240])
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--sample", type=int, default=3)
    parser.add_argument("--features", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cpu_time", action="store_true", help="of this process: for a machine with other work on it")
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = ClassificationModel(features=given.features).to(device).eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file, n = Path(folder) / "scan.mhd", given.candidates
        candidates = write_scan(file, given.shape, n)
        image, centers = together(file, candidates)  # once for the matrices' cache
        few = candidates[: given.sample]
        cubes = cut_cubes_at(image[0], centers[0, : len(few)], PATCH)[:, 0].numpy()
        error = max(float(np.abs(one_by_one(file, one) - cube).max()) for one, cube in zip(few, cubes, strict=True))
        read = best(lambda: together(file, candidates), given.rounds, clock)
        gather = best(
            lambda: CandidateInferer(PATCH, 16)(image, lambda x: x.flatten(1)[:, :2], centers=centers), 2, clock
        )
        whole = best(lambda: [one_by_one(file, one) for one in few], given.rounds, clock) / len(few) * n
        boxes = best(lambda: [box_by_box(file, one) for one in few], given.rounds, clock) / len(few) * n
        on_device, part = image.to(device), centers[:, : min(n, 48)]
        infer = best(lambda: CandidateInferer(PATCH, 16)(on_device, network, centers=part).cpu(), given.rounds, clock)
    ours = read + gather
    print(f"scan of {given.shape} voxels at {SPACING} mm, {n} candidates")
    print(f"{torch.get_num_threads()} threads, {device}, seconds of {clock.__name__}")
    print(f"read and resampled once {read:.2f} s, cubes gathered {gather:.2f} s: {n / ours:.0f} candidates a second")
    print(
        f"whole scan for each: {whole:.0f} s (from {len(few)}), {whole / ours:.0f} times as long; "
        f"same cubes to {error:.0e}"
    )
    print(f"a box for each: {boxes:.0f} s (from {len(few)}), {boxes / ours:.1f} times as long")
    rate = part.shape[1] / infer
    print(
        f"network {given.features}: {rate:.1f} cubes a second; "
        f"all in all {n / (ours + n / rate):.1f} candidates a second"
    )


if __name__ == "__main__":
    main()
