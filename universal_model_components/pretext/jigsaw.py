# SPDX-License-Identifier: Apache-2.0
"""3D Jigsaw (Taleb et al. 2020): in which of 100 orders are the 27 patches of a cube?

A cube is divided into 3×3×3 cells. From each cell a slightly smaller patch is cut at a random place, so that edges do
not continue from patch to patch: 39 of 42 voxels in a cube of 128³, the same share in any other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..method.corruptions import check_cubes, move
from ..method.counter_rng import uniform
from ..method.unet import FEATURES, Encoder
from .permutations import draw_permutations
from .task import PretextTask

GRID = 3  # cells along each axis
PIECES = GRID**3
GAP = 3 / 42  # of a cell's side, which its patch leaves free
LEAST = 19  # places in which any two permutations differ

_ORDER, _PLACES = 6, 7  # streams of random numbers of one seed; the corruptions' are 0 to 4, the rotation's 5


def patch_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the sides of a patch, from those of its cube (H, W, D): the cell's less the gap, at least one voxel each.

    Raises:
        ValueError: when a cell has fewer than two voxels along an axis.
    """
    cells = [int(side) // GRID for side in shape]
    if min(cells) < 2:
        raise ValueError(f"cubes: a jigsaw needs sides of at least {2 * GRID} voxels, found {[int(n) for n in shape]}")
    return tuple(cell - max(1, round(cell * GAP)) for cell in cells)


def draw_labels(seeds: Tensor, count: int) -> Tensor:
    """Draw each cube's class, the number of its permutation: seeds (B,) int64 → (B,) int64 below `count`."""
    return (uniform(seeds, _ORDER, 1)[:, 0] * count).long()


def draw_places(seeds: Tensor, shape: Sequence[int]) -> Tensor:
    """Draw where each cell's patch begins in the cube, uniform among the places where it lies in its cell.

    Args:
        seeds: of the cubes.
        shape: of a cube, (H, W, D); the voxels that the grid leaves over are at its faces.

    Shape:
        seeds (B,) int64 → (B, 27, 3) int64, the cells in order, the last axis fastest.

    Raises:
        ValueError: as `patch_shape`.
    """
    side, patch = torch.tensor([int(n) for n in shape]), torch.tensor(patch_shape(shape))
    cell = side // GRID
    corner = torch.tensor(list(itertools.product(range(GRID), repeat=3))) * cell + (side - GRID * cell) // 2
    free = uniform(seeds, _PLACES, 3 * PIECES).unflatten(1, (PIECES, 3)) * (cell - patch + 1)
    return corner + free.long()


def cut_patches(cubes: Tensor, places: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut patches of one shape out of each cube, in the order in which their places are given.

    Args:
        cubes: sub-volumes.
        places: first voxel of each patch.
        patch: sides of a patch.

    Shape:
        cubes (B, C, H, W, D); places (B, N, 3) → (B, N, C, *patch).
    """
    check_cubes(cubes)
    places = move(places, cubes.device)
    x, y, z = (places[:, :, axis, None] + torch.arange(patch[axis], device=cubes.device) for axis in range(3))
    cube = torch.arange(len(cubes), device=cubes.device)[:, None, None, None, None]
    # the channels, a slice between indices, come last: (B, N, *patch, C)
    cut = cubes[cube, :, x[:, :, :, None, None], y[:, :, None, :, None], z[:, :, None, None, :]]
    return cut.movedim(-1, 2).contiguous()


class JigsawModel(nn.Module):
    """E of the paper on each of 27 patches, its deepest level pooled, and a classifier of their order.

    The classifier takes the features of all patches, in their places: two fully connected layers, each with batch
    normalization, ReLU and dropout, and the logits. A patch is resized by linear interpolation to the nearest sides
    that E's poolings divide: 39 voxels to 40, 9 to 8 with four levels.

    The permutations are a buffer, so that they are in every checkpoint and in the weights.

    Args:
        in_channels: channels of a cube.
        features: output channels of the encoder's levels, finest first.
        permutations: number of classes.
        hidden_channels: units of each fully connected layer.
        dropout: share of these units that a step of the training leaves out.
        seed: of the draw of the permutations.
        batch_statistics: of the encoder, see `unet.ConvBlock`.

    Shape:
        patches (B, 27, in_channels, h, w, d), in shuffled order → {"jigsaw": logits (B, permutations)}.
    """

    permutations: Tensor

    def __init__(
        self,
        in_channels: int = 1,
        features: Sequence[int] = FEATURES,
        permutations: int = 100,
        hidden_channels: int = 1024,
        dropout: float = 0.5,
        seed: int = 0,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, batch_statistics)
        widths = [PIECES * features[-1], hidden_channels, hidden_channels]
        hidden = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in (nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(dropout))
        ]
        self.classifier = nn.Sequential(*hidden, nn.Linear(hidden_channels, permutations))
        self.register_buffer("permutations", draw_permutations(permutations, PIECES, LEAST, seed))

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Return the logits."""
        image = fit_to_poolings(patches.flatten(0, 1), self.encoder.divisor)
        pooled = self.encoder(image)[-1].mean(dim=(2, 3, 4))  # (B * 27, features[-1])
        return {"jigsaw": self.classifier(pooled.unflatten(0, patches.shape[:2]).flatten(1))}


def fit_to_poolings(image: Tensor, divisor: int) -> Tensor:
    """Resize linearly to the nearest sides that are multiples of `divisor`, and at least that.

    Shape:
        (B, C, H, W, D) → (B, C, H', W', D').
    """
    sides = [max(1, round(side / divisor)) * divisor for side in image.shape[2:]]
    return image if sides == list(image.shape[2:]) else functional.interpolate(image, sides, mode="trilinear")


class JigsawTask(PretextTask):
    """The task on a batch: a cube's order and places are a function of its seed, and of the network's permutations.

    Args:
        network: whose permutations are used, as they are when a batch is prepared: a checkpoint brings its own.
    """

    name = "jigsaw"

    def __init__(self, network: JigsawModel) -> None:
        self.network, self.num_classes = network, len(network.permutations)

    def apply(self, cubes: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Cut and shuffle patches, (B, 27, C, h, w, d) in shuffled order; ValueError as `patch_shape`."""
        shape = cubes.shape[2:]
        labels, places = draw_labels(seeds, self.num_classes), move(draw_places(seeds, shape), cubes.device)
        order = self.network.permutations.to(cubes.device)[move(labels, cubes.device)]
        shuffled = places.gather(1, order[:, :, None].expand_as(places))
        return cut_patches(cubes, shuffled, patch_shape(shape)), labels
