# SPDX-License-Identifier: Apache-2.0
"""Time, error and memory of `resample` beside MONAI's `Spacing(mode=3)` and SciPy in float64, in one run.

    python benchmarks/resampling.py [--rounds 2] [--shape 512 512 120] [--mode nearest]

MONAI's transform takes some 15 s a round for the default volume. Peak memory is that of a fresh process (Linux only).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from universal_model_components.imaging.resampling import MODES, _axis_matrix, resample

SPACING_IN, SPACING_OUT = (0.7, 0.7, 2.5), (1.0, 1.0, 1.0)


def seconds(function: Callable[[], object], device: str = "cpu") -> float:
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def memory(field: str) -> int:
    """Read VmRSS or VmHWM (the peak) of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def report_peak(shape: list[int], mode: str) -> None:
    """Print the memory that one resampling adds to a fresh process, its input and output included."""
    before = memory("VmRSS")
    volume = torch.rand(shape)
    result = resample(volume, SPACING_IN, SPACING_OUT, mode=mode)
    peak, bare = memory("VmHWM") - before, volume.nbytes + result.nbytes
    print(f"peak memory: {peak / 2**20:.0f} MiB = {peak / bare:.2f} x (input + output), fresh process, CPU")


def report_speed(volume: torch.Tensor, mode: str, rounds: int) -> float:
    """Time both by turns; return the seconds of MONAI's transform."""
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    image = MetaTensor(volume[None], affine=np.diag([*SPACING_IN, 1.0]))
    spacing = Spacing(SPACING_OUT, mode=3, padding_mode=mode)
    monai_times, cold_times, warm_times = [], [], []
    for _ in range(rounds):
        monai_times.append(seconds(lambda: spacing(image)))
        _axis_matrix.cache_clear()
        cold_times.append(seconds(lambda: resample(volume, SPACING_IN, SPACING_OUT, mode=mode)))
        warm_times += [seconds(lambda: resample(volume, SPACING_IN, SPACING_OUT, mode=mode)) for _ in range(3)]
    theirs, cold, warm = map(statistics.median, (monai_times, cold_times, warm_times))
    print(f"MONAI Spacing(mode=3): {theirs:.2f} s (median of {rounds}, {torch.get_num_threads()} threads)")
    print(f"resample: {warm:.3f} s, {theirs / warm:.1f} times faster; matrices not cached: {cold:.3f} s,", end=" ")
    print(f"{theirs / cold:.1f} times faster")
    return theirs


def report_error(volume: torch.Tensor, mode: str) -> None:
    """Compare with SciPy's spline, computed in float64 at the same positions."""
    ours = resample(volume, SPACING_IN, SPACING_OUT, mode=mode)
    steps = np.divide(SPACING_OUT, SPACING_IN)
    reference = ndimage.affine_transform(
        volume.double().numpy(), steps, output_shape=tuple(ours.shape), order=3, mode=mode
    )
    error = float(np.abs(ours.numpy() - reference).max())
    print(f"largest difference from scipy.ndimage order 3 in float64: {error:.1e} (values in [0, 1])")


def report_cuda(volume: torch.Tensor, mode: str, theirs: float) -> None:
    """Time the same volume, already on the device, and compare with the CPU's result."""
    on_device = volume.cuda()
    run = lambda: resample(on_device, SPACING_IN, SPACING_OUT, mode=mode)  # noqa: E731
    seconds(run, "cuda")
    torch.cuda.reset_peak_memory_stats()
    warm = statistics.median(seconds(run, "cuda") for _ in range(5))
    result = run()
    peak = torch.cuda.max_memory_allocated() / (volume.nbytes + result.nbytes)
    error = float((result.cpu() - resample(volume, SPACING_IN, SPACING_OUT, mode=mode)).abs().max())
    print(
        f"CUDA ({torch.cuda.get_device_name()}): {warm * 1000:.1f} ms, {theirs / warm:.0f} times MONAI on the CPU;",
        end=" ",
    )
    print(f"difference from CPU {error:.1e}; peak at most {peak:.2f} x (input + output)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 120])
    parser.add_argument("--mode", choices=MODES, default="nearest")
    parser.add_argument("--peak", action="store_true", help="only the peak memory, of this process")
    options = parser.parse_args()
    if options.peak:
        return report_peak(options.shape, options.mode)
    volume = torch.rand(options.shape, generator=torch.Generator().manual_seed(0))
    print(f"{tuple(volume.shape)} float32, {SPACING_IN} to {SPACING_OUT} mm, mode {options.mode!r}", flush=True)
    subprocess.run([sys.executable, __file__, "--peak", "--mode", options.mode, "--shape", *map(str, options.shape)])
    theirs = report_speed(volume, options.mode, options.rounds)
    report_error(volume, options.mode)
    if torch.cuda.is_available():
        report_cuda(volume, options.mode, theirs)
    else:
        print("CUDA: no device on this machine, not measured")


if __name__ == "__main__":
    main()
