# SPDX-License-Identifier: Apache-2.0
"""Draw what low-pass filtering does to crops that shrink: docs/images/antialias.png.

    python benchmarks/antialias.py [--output docs/images/antialias.png] [--scan CT.nii.gz]

Two crops of the large scale become cubes of 64×64×32 voxels, without and with the filter: rings that grow finer
outwards, where what is beyond the new Nyquist frequency should fade to gray, and a chest CT (drawn, unless one is
given). Printed is how much of a wave above the new Nyquist frequency is left as false structure.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from universal_model_components.cubes.cropping import crop_shape
from universal_model_components.imaging.normalization import load_scan
from universal_model_components.imaging.resampling import resize
from universal_model_components.phantom import draw_thorax_ct
from universal_model_components.utils.files import write_atomically

CUBE = (64, 64, 32)
GROUND, INK = "#14171c", "#e8eaed"


def rings(shape: tuple[int, ...]) -> Tensor:
    """Draw rings whose frequency rises in plane from 0 in the middle to half a cycle a voxel at the edge."""
    x, y = (torch.linspace(-1, 1, side) for side in shape[:2])
    radius = x[:, None] ** 2 + y[None, :] ** 2
    plane = 0.5 + 0.5 * torch.cos(torch.pi * radius * min(shape[:2]) / 4)
    return plane[..., None].expand(shape).contiguous()


def chest(scan: Path | None) -> Tensor:
    """Cut a crop of the large scale around the middle of a chest CT."""
    with tempfile.TemporaryDirectory() as folder:
        file = scan or Path(folder) / "drawn.nii"
        if scan is None:
            draw_thorax_ct(3, (224, 224, 96)).nifti().to_filename(file)
        volume = load_scan(file, (-1000, 1000), "range").volume
    crop = crop_shape(volume.shape, 1 / 2)
    place = [(side - part) // 2 for side, part in zip(volume.shape, crop, strict=True)]
    place[0] //= 2  # one lung rather than the spine between both
    return volume[tuple(slice(a, a + n) for a, n in zip(place, crop, strict=True))]


def left_over(shape: tuple[int, ...], frequency: float) -> dict[bool, float]:
    """Measure the share of a wave's power that a cube still holds, without and with the filter.

    Args:
        shape: of the crop.
        frequency: of the wave along the first axis, in units of the cube's Nyquist frequency; above 1 nothing of it
            can be shown, so all that is left is false.
    """
    positions = torch.arange(shape[0]) * np.pi * frequency * CUBE[0] / shape[0]
    wave = positions.cos()[:, None, None].expand(shape).contiguous()
    return {on: float(resize(wave, CUBE, antialias=on).var() / wave.var()) for on in (False, True)}


def draw(crops: dict[str, Tensor]) -> bytes:
    """Draw a row for each crop: itself, and its cube without and with the filter."""
    figure = Figure(figsize=(8.4, 2.75 * len(crops) + 0.3), facecolor=GROUND, layout="constrained")
    for line, (name, crop) in zip(figure.subplots(len(crops), 3, squeeze=False), crops.items(), strict=True):
        cubes = [resize(crop, CUBE, antialias=on).clamp(0, 1) for on in (False, True)]
        titles = (f"{name}, {' × '.join(map(str, crop.shape))}", "shrunk without a filter", "shrunk with (antialias)")
        for axis, volume, title in zip(line, (crop, *cubes), titles, strict=True):
            axis.imshow(volume[..., volume.shape[2] // 2].T, cmap="gray", vmin=0, vmax=0.85, origin="lower")
            axis.set_title(title, color=INK, fontsize=9)
            axis.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=75, metadata={"Software": None})
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/images/antialias.png"))
    parser.add_argument("--scan", type=Path, help="a CT of your own instead of the drawn one")
    settings = parser.parse_args()
    crop = chest(settings.scan)
    for frequency in (1.25, 1.5, 2.5):
        left = left_over(tuple(crop.shape), frequency)
        print(f"a wave at {frequency} times the new Nyquist frequency: {left[False]:.0%} of its power is left ", end="")
        print(f"without the filter, {left[True]:.2%} with it")
    content = draw({"rings": rings(tuple(crop.shape)), "chest": crop})
    write_atomically(settings.output, lambda path: path.write_bytes(content))
    print(settings.output)


if __name__ == "__main__":
    main()
