# SPDX-License-Identifier: Apache-2.0
"""The deterministic part of the paper's τ: flip, non-linear map, inner- and outer-painting (paper III-A); masking.

Each function takes a batch of cubes and the parameters of every cube, and returns a new batch; nothing here is random
(`genesis` draws). Spatial parameters are shared by a cube's channels. Local shuffling, the long one, has its
own module: `local_shuffling`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CURVE_POINTS = 1024  # points of a Bézier curve that are computed
MAP_POINTS = 4096  # intensities at which the map is tabulated; linear in between


def flip(cubes: Tensor, axes: Tensor) -> Tensor:
    """Mirror each cube along its own axes.

    Args:
        cubes: sub-volumes.
        axes: True where a cube is mirrored.

    Shape:
        cubes (B, C, H, W, D); axes (B, 3) bool → (B, C, H, W, D).
    """
    check_cubes(cubes)
    axes = move(axes, cubes.device)
    index = torch.zeros(len(cubes), 1, 1, 1, dtype=torch.int64, device=cubes.device)
    for axis, side in enumerate(cubes.shape[2:]):
        along = torch.arange(side, device=cubes.device)
        positions = torch.where(axes[:, axis, None], side - 1 - along, along)
        view = [len(cubes), 1, 1, 1]
        view[axis + 1] = side
        index = index * side + positions.view(view)
    return gather_voxels(cubes, index.flatten(1))


def map_intensity(cubes: Tensor, control: Tensor, decreasing: Tensor) -> Tensor:
    """Map intensities through a monotone cubic Bézier curve (non-linear transformation, paper III-A).

    The curve runs from (0, 0) to (1, 1). Because its control points lie in the unit square, x and y both rise along it,
    so it is a function. A decreasing map reverses y: from (0, 1) to (1, 0). The curve is tabulated at 4096 equally
    spaced intensities and interpolated linearly: within 1e-5 of the curve on average, and within 1e-4 except for one
    value in a thousand, next to an almost vertical tangent.

    Args:
        cubes: sub-volumes in [0, 1]; values outside are clamped after mapping.
        control: the two inner control points, (x, y) each, in [0, 1].
        decreasing: which maps are decreasing.

    Shape:
        cubes (B, C, H, W, D); control (B, 2, 2); decreasing (B,) bool → (B, C, H, W, D).
    """
    check_cubes(cubes)
    cells = MAP_POINTS - 1
    heights = tabulate_curves(control, decreasing)
    slope = heights.diff(dim=1) * cells
    intercept = heights[:, :-1] - slope * torch.arange(cells, device=slope.device) / cells
    slope, intercept = move(slope.float(), cubes.device), move(intercept.float(), cubes.device)
    voxels = cubes.flatten(1).float()
    offset = torch.arange(len(cubes), dtype=torch.int32, device=cubes.device)[:, None] * cells
    cell = (voxels * cells).to(torch.int32).clamp_(0, cells - 1).add_(offset).flatten()
    mapped = _take(intercept, cell).addcmul_(_take(slope, cell), voxels.flatten()).clamp_(0, 1)
    return mapped.view_as(cubes).to(cubes.dtype)


def inner_paint(cubes: Tensor, boxes: Tensor, noise: Tensor) -> Tensor:
    """Replace boxes of each cube by noise (inner-painting, paper III-A).

    Args:
        cubes: sub-volumes in [0, 1].
        boxes: corners in voxels, half-open; boxes of zero size change nothing.
        noise: values that fill the boxes, voxel by voxel.

    Shape:
        cubes (B, C, H, W, D); boxes (B, N, 2, 3) int64; noise as cubes → (B, C, H, W, D).

    Raises:
        ValueError: when a box extends beyond the cube; the message names the sample, the box and the cube's shape.
    """
    return torch.lerp(cubes, noise.to(cubes.dtype), _inside(boxes, cubes))


def outer_paint(cubes: Tensor, windows: Tensor, noise: Tensor) -> Tensor:
    """Replace everything outside the union of the windows by noise (outer-painting, paper III-A).

    Args, Shape and Raises are those of `inner_paint`, with windows instead of boxes.
    """
    return torch.lerp(noise.to(cubes.dtype), cubes, _inside(windows, cubes))


def mask_blocks(cubes: Tensor, masked: Tensor, side: int) -> Tensor:
    """Set the masked blocks of each cube to 0 (not in the paper: masked image modeling, He et al., CVPR 2022).

    Args:
        cubes: sub-volumes in [0, 1].
        masked: True where a block is masked; blocks tile the cube from its first voxel, the last ones may be cut off.
        side: of a block, in voxels.

    Shape:
        cubes (B, C, H, W, D); masked (B, ⌈H/side⌉, ⌈W/side⌉, ⌈D/side⌉) bool → (B, C, H, W, D).
    """
    check_cubes(cubes)
    return cubes.masked_fill(spread_blocks(move(masked, cubes.device), side, cubes.shape[2:]), 0)


def spread_blocks(masked: Tensor, side: int, shape: Sequence[int]) -> Tensor:
    """Return which voxels are in masked blocks: (B, h, w, d) bool, (H, W, D) → (B, 1, H, W, D)."""
    for axis, voxels in enumerate(shape, start=1):
        masked = masked.repeat_interleave(side, axis).narrow(axis, 0, voxels)
    return masked[:, None]


def check_cubes(cubes: Tensor) -> tuple[int, int, int]:
    """Spatial shape (H, W, D) of a batch of cubes; ValueError when they are not floating (B, C, H, W, D)."""
    if cubes.ndim != 5 or not cubes.is_floating_point():
        raise ValueError(
            f"cubes: expected floating-point (B, C, H, W, D), found {cubes.dtype} of shape {tuple(cubes.shape)}"
        )
    height, width, depth = cubes.shape[2:]
    return height, width, depth


def tabulate_curves(control: Tensor, decreasing: Tensor) -> Tensor:
    """Heights of each map at MAP_POINTS equally spaced intensities: (B, 2, 2), (B,) → (B, MAP_POINTS) float64."""
    t = torch.linspace(0, 1, CURVE_POINTS, dtype=torch.float64, device=control.device)
    first, second = control.double()[..., None].unbind(1)  # each (B, 2, 1)
    x, y = (first * (3 * t * (1 - t) ** 2) + second * (3 * t**2 * (1 - t)) + t**3).unbind(1)
    y = torch.where(decreasing[:, None], y.flip(1), y)
    grid = torch.linspace(0, 1, MAP_POINTS, dtype=torch.float64, device=control.device).expand(len(control), -1)
    right = torch.searchsorted(x.contiguous(), grid.contiguous()).clamp_(1, CURVE_POINTS - 1)
    x0, x1, y0, y1 = x.gather(1, right - 1), x.gather(1, right), y.gather(1, right - 1), y.gather(1, right)
    return torch.lerp(y0, y1, ((grid - x0) / (x1 - x0).clamp_(min=1e-12)).clamp_(0, 1))


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a small tensor to the device of the cubes; asynchronously for CUDA."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def gather_voxels(cubes: Tensor, source: Tensor) -> Tensor:
    """Fill each voxel from another of its cube, given by flat position: (B, C, H, W, D), (B, H * W * D) int64."""
    index = source[:, None].expand(-1, cubes.shape[1], -1)
    return cubes.flatten(2).gather(2, index).view_as(cubes)


def _take(table: Tensor, index: Tensor) -> Tensor:
    """Entries of a table, both flattened (much faster on the CPU than `table[index]`)."""
    return table.flatten().index_select(0, index)


def _inside(boxes: Tensor, cubes: Tensor) -> Tensor:
    """Weight 1 where a voxel lies in any of its cube's boxes, else 0: (B, N, 2, 3) → (B, 1, H, W, D).

    `torch.lerp` with weights 0 and 1 is exact, and several times as fast as `torch.where`.
    """
    shape = check_cubes(cubes)
    _check_boxes(boxes, shape)
    boxes = move(boxes, cubes.device)
    along = []
    for axis, side in enumerate(shape):
        position = torch.arange(side, device=cubes.device)
        first, end = boxes[:, :, 0, axis, None], boxes[:, :, 1, axis, None]
        along.append(((first <= position) & (position < end)).float())
    plane = (along[1][..., None] * along[2][..., None, :]).flatten(2)
    return (along[0].mT @ plane).clamp_(max=1).view(len(cubes), 1, *shape).to(cubes.dtype)


def _check_boxes(boxes: Tensor, shape: tuple[int, int, int]) -> None:
    """Reject boxes that extend beyond the cube."""
    wrong = ((boxes < 0) | (boxes > torch.tensor(shape, device=boxes.device))).flatten(2).any(2).nonzero()
    if len(wrong):
        sample, box = wrong[0].tolist()
        corners = boxes[sample, box].tolist()
        raise ValueError(f"boxes: box {box} of sample {sample}, {corners[0]} to {corners[1]}, leaves the cube {shape}")
