# SPDX-License-Identifier: Apache-2.0
"""The store of cubes: bytes and random reads of some formats, then cubes per second and memory at two sizes.

    python benchmarks/store.py [--cubes DIR] [--sizes 1000 20000]

Without `--cubes` (a store that prepare.json filled) it cuts cubes from drawn volumes. All figures are of one run; the
second part reads a store of each size through a DataLoader with two workers, in random order, in a fresh process, and
gives the memory (PSS) of that process and its workers early and late. Where others use the machine, cubes/s says how
much of it they left: CPU ms for each cube, all processes together, is the measure then (two cores give 2000 / CPU ms).
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import psutil
import torch
from scipy import ndimage
from torch.utils.data import DataLoader

from universal_model_components.cubes.case_file import encode_case
from universal_model_components.cubes.cropping import Cubes, cut_cubes
from universal_model_components.cubes.recipe import SCALES, Recipe, recipe_id
from universal_model_components.cubes.store import CubeDataset, case_records, close_store, open_store
from universal_model_components.imaging.hdf5 import LEVELS, case_file

FORMATS = {
    "16 bit, plain": (65535, {}),
    "16 bit, lzf": (65535, {"compression": "lzf"}),
    "16 bit, shuffle, lzf": (65535, {"compression": "lzf", "shuffle": True}),
    "16 bit, shuffle, gzip-1": (65535, {"compression": "gzip", "compression_opts": 1, "shuffle": True}),
    "12 bit, lzf": (LEVELS, {"compression": "lzf"}),
    "12 bit, shuffle, lzf": (LEVELS, {"compression": "lzf", "shuffle": True}),
    "12 bit, shuffle, gzip-1": (LEVELS, {"compression": "gzip", "compression_opts": 1, "shuffle": True}),
    "12 bit, shuffle, gzip-1, checksum": (
        *(LEVELS, {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}),
    ),
    "12 bit, scale-offset": (LEVELS, {"scaleoffset": 12}),
}


def drawn_cubes() -> np.ndarray:
    """Cut cubes from two volumes with smooth structure, noise and air."""
    rng = np.random.default_rng(0)
    cubes = []
    for case in range(2):
        texture = ndimage.gaussian_filter(rng.normal(size=(160, 160, 128)), 5)
        volume = 0.5 + 0.12 * texture / texture.std() + 0.012 * rng.normal(size=texture.shape)
        axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in volume.shape), indexing="ij")
        volume[sum(axis**2 for axis in axes) > 0.95] = 0
        scan = torch.from_numpy(volume.clip(0, 1).astype(np.float32))
        cubes.append(cut_cubes(scan, (1, 1, 1), Recipe(), str(case)).values)
    return np.concatenate(cubes)


def stored_cubes(folder: Path, count: int = 192) -> np.ndarray:
    """Take cubes evenly from a store."""
    records = [record for split in ("training", "validation") for record in case_records(folder, split, ["ct", "mri"])]
    dataset = CubeDataset(records)
    picked = np.linspace(0, len(dataset) - 1, count).astype(int)
    return np.stack([np.rint(dataset[int(i)]["image"][0].numpy() * LEVELS).astype(np.uint16) for i in picked])


def rate(read, order: np.ndarray) -> float:
    """Return reads for each second of processor time (all threads), which other processes disturb little."""
    start = time.process_time()
    for i in order:
        read(int(i))
    return len(order) / (time.process_time() - start)


def compare_formats(cubes: np.ndarray, folder: Path) -> None:
    """Print bytes per cube and random reads for each second of processor time, file in the page cache."""
    order = np.random.default_rng(1).integers(0, len(cubes), 400)
    half = cubes[0].size * 2
    dither = np.random.default_rng(2).uniform(-0.5, 0.5, cubes.shape)  # the low bits that a 16-bit store would hold
    print(f"{'format':<36}{'KB/cube':>9}{'of float32':>12}{'reads/CPU s':>13}")
    for name, (levels, options) in FORMATS.items():
        exact = cubes if levels == LEVELS else ((cubes + dither).clip(0) / LEVELS * levels).clip(0, levels)
        with h5py.File(folder / "format.h5", "w") as file:
            chunk = (1, *cubes.shape[1:])
            file.create_dataset("cubes", data=exact.round().astype(np.uint16), chunks=chunk, **options)
        size = (folder / "format.h5").stat().st_size / len(cubes)
        with h5py.File(folder / "format.h5", "r", rdcc_nbytes=0) as file:
            speed = rate(file["cubes"].__getitem__, order)
        print(f"{'HDF5 ' + name:<36}{size / 1e3:>9.0f}{size / half / 2:>12.0%}{speed:>13.0f}")
    compare_zarr(cubes, folder, order)


def compare_zarr(cubes: np.ndarray, folder: Path, order: np.ndarray) -> None:
    """Print the same for zarr, where it is installed (the project does not need it)."""
    try:
        import zarr
        from zarr.codecs import BloscCodec
    except ImportError:
        print("zarr is not installed: pip install zarr to compare")
        return
    for codec in ("lz4", "zstd"):
        blosc = BloscCodec(cname=codec, clevel=3, shuffle="bitshuffle", typesize=2)
        chunk = (1, *cubes.shape[1:])
        array = zarr.create_array(
            folder / f"{codec}.zarr", shape=cubes.shape, chunks=chunk, dtype="u2", compressors=blosc
        )
        array[:] = cubes
        size = sum(file.stat().st_size for file in (folder / f"{codec}.zarr").rglob("*") if file.is_file()) / len(cubes)
        speed = rate(zarr.open_array(folder / f"{codec}.zarr", mode="r").__getitem__, order)
        name = f"zarr 12 bit, bitshuffle, {codec}"
        print(f"{name:<36}{size / 1e3:>9.0f}{size / cubes[0].size / 4:>12.0%}{speed:>13.0f}")


def fill(folder: Path, cubes: np.ndarray, size: int) -> None:
    """Make a store of cases with 64 cubes each; the cubes repeat, the files do not."""
    recipe = Recipe(patch_size=cubes.shape[1:]).to_dict()
    open_store(folder, recipe)
    cases, per_case = [], 64
    attributes = {"recipe_id": recipe_id(recipe), "modality": "ct"}
    for n in range(size // per_case):
        rows = (np.arange(per_case) + 7 * n) % len(cubes)
        values = Cubes(cubes[rows], [16, 16, 32], np.zeros((per_case, 2, 3), np.float32), 0)
        case_file(folder, f"ct/{n}").write_bytes(encode_case(values, {**attributes, "case": f"ct/{n}"}))
        cases.append({"case": f"ct/{n}", "modality": "ct", "group": f"ct/{n}", "counts": [16, 16, 32]})
    close_store(folder, {"splits": {"training": cases, "validation": []}})


def usage() -> tuple[float, float]:
    """Return memory (MB, shared pages counted once) and CPU seconds of this process and its children."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    used = [process.cpu_times() for process in processes]
    memory = sum(process.memory_full_info().pss for process in processes) / 1e6
    return memory, sum(times.user + times.system for times in used)


def read_store(folder: Path, reads: int, workers: int) -> tuple[float, float, float, float]:
    """Read random cubes; return cubes per second, CPU ms per cube, memory after a quarter and after all reads."""
    dataset = CubeDataset(case_records(folder, "training", ["ct"]))
    order = torch.randint(len(dataset), (reads,), generator=torch.Generator().manual_seed(0)).tolist()
    loader = DataLoader(dataset, batch_size=16, sampler=order, num_workers=workers)
    first, last = reads // 64, reads // 16 - 2 * workers - 1  # while all workers still read
    early = late = start = speed = busy = 0.0
    for step, _ in enumerate(loader):
        if step == first:
            (early, busy), start = usage(), time.perf_counter()
        if step == last:
            speed = (last - first) * 16 / (time.perf_counter() - start)
            late, end = usage()
            busy = (end - busy) / ((last - first) * 16) * 1e3
    return speed, busy, early, late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cubes", type=Path, help="a store to take cubes from")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--reads", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    settings = parser.parse_args()
    cubes = stored_cubes(settings.cubes) if settings.cubes else drawn_cubes()
    print(f"{len(cubes)} cubes of {cubes.shape[1:]}, {len(SCALES)} scales")
    folder = Path(tempfile.mkdtemp(prefix="cube_store_"))
    try:
        compare_formats(cubes, folder)
        print(f"\nDataLoader with {settings.workers} workers; CPU ms for each cube, all processes together")
        print(f"{'cubes in store':>14}{'cubes/s':>10}{'CPU ms':>10}{'MB early':>10}{'MB late':>10}")
        for size in settings.sizes:
            fill(folder / str(size), cubes, size)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # nothing left of the last size
                call = pool.submit(read_store, folder / str(size), settings.reads, settings.workers)
                speed, busy, early, late = call.result()
            print(f"{size:>14}{speed:>10.0f}{busy:>10.2f}{early:>10.0f}{late:>10.0f}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
