# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from luna import world, write_luna16, write_metaimage
from scipy import ndimage
from scipy.spatial.transform import Rotation

from universal_model_components.imaging.normalization import load_scan
from universal_model_components.imaging.reading import read_grid
from universal_model_components.tasks.candidates import (
    check_inside,
    cube_windows,
    cut_cube,
    cut_cubes_at,
    gather_cubes,
    nearest_voxels,
    read_candidates,
    to_voxels,
)

SHAPE = (22, 26, 30)
TURN = Rotation.from_euler("xyz", [9, -7, 12], degrees=True).as_matrix()
AFFINES = {
    "RAS": np.diag([1.0, 1.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "left-handed": np.diag([1.0, -1.0, -1.0]),
    "permuted": np.eye(3)[[1, 2, 0]] * [1, -1, 1],
    "oblique": TURN,
    "oblique, flipped and permuted": TURN @ (np.eye(3)[[2, 0, 1]] * [-1, 1, -1]),
}


def affine_of(directions, spacing=(1.0, 1.0, 1.0)):
    return nibabel.affines.from_matvec(directions * np.asarray(spacing), [13.7, -105.2, 61.4])


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("suffix", ["mhd", "nii.gz"])
def test_the_middle_of_a_cube_is_the_candidates_voxel(name, suffix, tmp_path, generator):
    """One bright voxel in noise, found again at `side // 2`, with its neighbors in RAS order around it."""
    voxels = (1000 * torch.rand(SHAPE, generator=generator)).numpy().astype(np.int16)
    affine, at = affine_of(AFFINES[name]), np.array([7, 15, 21])
    voxels[tuple(at)] = 2000
    file = tmp_path / f"scan.{suffix}"
    if suffix == "mhd":
        write_metaimage(file, voxels, affine)
    else:
        nibabel.save(nibabel.Nifti1Image(voxels, affine), file)
    scan = load_scan(file, (0, 2000), "range")
    center = nearest_voxels([world(at, affine)], scan.affine)
    cube = cut_cube(scan.volume.numpy(), center[0], (8, 8, 4))
    assert cube[4, 4, 2] == 1
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine))
    there = tuple(int(n) for n in np.argwhere(np.asarray(turned.dataobj) == 2000)[0])
    expected = np.asarray(turned.dataobj)[
        tuple(slice(n - s // 2, n + s // 2) for n, s in zip(there, (8, 8, 4), strict=True))
    ]
    np.testing.assert_allclose(cube, expected / 2000, atol=1e-6)


@pytest.mark.parametrize("name", AFFINES)
def test_anisotropic_scans_are_sampled_at_the_candidates_place(name, tmp_path):
    """The slow way: each voxel of the cube is looked up in the file's own voxels by the position that it stands for."""
    spacing, directions = (0.7, 0.8, 2.5), AFFINES[name]
    affine, at = affine_of(directions, spacing), np.array([14.3, 20.6, 8.2])
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    distance = np.linalg.norm((axes - at) * spacing, axis=-1)
    voxels = 2000 * np.exp(-((distance / 5) ** 2))
    write_metaimage(tmp_path / "scan.mhd", voxels.astype(np.float32), affine)
    scan = load_scan(tmp_path / "scan.mhd", (0, 2000), "range")
    (center,) = nearest_voxels([world(at, affine)], scan.affine)
    cube = cut_cube(scan.volume.numpy(), center, (6, 6, 6))
    for offset in np.ndindex(6, 6, 6):
        position = scan.affine[:3, :3] @ (center.numpy() + offset - 3) + scan.affine[:3, 3]
        where = np.linalg.solve(affine[:3, :3], position - affine[:3, 3])
        expected = ndimage.map_coordinates(voxels / 2000, where[:, None], order=3, mode="nearest")[0]
        assert cube[offset] == pytest.approx(np.clip(expected, 0, 1), abs=1e-4)
    wanted = np.array([-1, -1, 1]) * world(at, affine)
    found = scan.affine[:3, :3] @ center.numpy() + scan.affine[:3, 3]
    assert np.abs(np.linalg.solve(scan.affine[:3, :3], found - wanted)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("name", AFFINES)
def test_candidates_in_the_outer_half_of_an_outermost_voxel_keep_a_voxel(name, tmp_path):
    """A resampled scan ends at the middles of the file's outermost voxels: what lies beyond moves to its last voxel."""
    affine = affine_of(AFFINES[name], (1.7, 1.7, 2.5))
    write_metaimage(tmp_path / "scan.mhd", np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32), affine)
    scan = load_scan(tmp_path / "scan.mhd", None, "volume")
    corners = [world(np.array(at), affine) for at in ([-0.45] * 3, np.array(SHAPE) - 0.55)]
    check_inside({"image": "scan.mhd", "candidates": corners}, affine, SHAPE)
    beyond = nearest_voxels(corners, scan.affine)
    last = torch.tensor(scan.volume.shape) - 1
    assert (beyond < 0).any()
    found = nearest_voxels(corners, scan.affine, scan.volume.shape)
    assert torch.equal(found, torch.minimum(beyond.clamp_min(0), last))
    cubes = cut_cubes_at(scan.volume[None], found, (4, 4, 4))
    for cube, center in zip(cubes, found.tolist(), strict=True):
        assert float(cube[0, 2, 2, 2]) == float(scan.volume[tuple(center)])


@pytest.mark.parametrize("shape", [(8, 8, 4), (5, 7, 3), (30, 30, 30)])
def test_batched_cubes_equal_single_ones(shape, generator):
    volume = torch.rand(12, 14, 9, generator=generator)
    centers = torch.tensor([[0, 0, 0], [11, 13, 8], [5, 6, 4], [11, 0, 3]])
    cubes = cut_cubes_at(volume[None], centers, shape)
    assert cubes.shape == (4, 1, *shape)
    for cube, center in zip(cubes, centers, strict=True):
        np.testing.assert_array_equal(cube[0].numpy(), cut_cube(volume.numpy(), center, shape))
        for offset in np.ndindex(*shape):
            at = [int(c) + o - s // 2 for c, o, s in zip(center, offset, shape, strict=True)]
            inside = all(0 <= a < n for a, n in zip(at, volume.shape, strict=True))
            assert float(cube[(0, *offset)]) == (float(volume[tuple(at)]) if inside else 0)


def test_no_candidates_make_no_cubes():
    assert cut_cubes_at(torch.rand(1, 8, 8, 8), torch.zeros(0, 3, dtype=torch.int64), (4, 4, 4)).shape[0] == 0


def test_reads_the_list_of_luna16(tmp_path):
    entries = write_luna16(tmp_path, scans=2)
    found = read_candidates(tmp_path / "candidates.csv", classes=True)
    assert found == {entry["seriesuid"]: entry["candidates"] for entry in entries}
    assert len(read_candidates(tmp_path / "candidates.csv")[entries[0]["seriesuid"]][0]) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        [None, "no file"],
        ["seriesuid,coordX,coordY\na,1,2\n", r"lacks the column 'coordZ' \(found"],
        ["seriesuid,coordX,coordY,coordZ\na,1,2,3\n", "lacks the column 'class'"],
        ["seriesuid,coordX,coordY,coordZ,class\n", "has no candidate"],
        ["", "lacks the column 'seriesuid'"],
        ["sériesuid,coordX,coordY,coordZ,class\n".encode("latin-1"), r"cannot read .*UTF-8"],
        ["seriesuid,coordX,coordY,coordZ,class\n".encode("utf-16"), r"cannot read .*UTF-8"],
        ["seriesuid,coordX,coordY,coordZ,class\na,1,2,3,1\na,1,x,3,0\n", "line 3: coordY is 'x'"],
        ["seriesuid,coordX,coordY,coordZ,class\na,1,2,3,2\n", "line 2: class is '2', expected 0 or 1"],
        ["seriesuid,coordX,coordY,coordZ,class\na,1,2\n", "line 2: coordZ is None"],
        ["seriesuid,coordX,coordY,coordZ,class\na,1,nan,0,1\n", "line 2: coordY is 'nan'"],
        ["seriesuid,coordX,coordY,coordZ,class\n,1,2,3,1\n", "line 2: seriesuid is empty"],
        ["coordX,coordY,coordZ,class,seriesuid\n1,2,3,1\n", "line 2: seriesuid is empty"],
    ],
)
def test_lists_that_cannot_be_used(text, message, tmp_path):
    file = tmp_path / "candidates.csv"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        read_candidates(file, classes=True)
    assert "\n" not in str(caught.value)


def test_candidates_outside_the_scan_are_named():
    affine = affine_of(AFFINES["LPS"])
    inside = [world(np.array(at), affine) for at in ([0, 0, 0], [21, 25, 29], [-0.49, 3, 3])]
    check_inside({"image": "scan.mhd", "candidates": inside}, affine, SHAPE)
    wrong = {"image": "scan.mhd", "candidates": [*inside, world(np.array([22, 3, 3]), affine)]}
    with pytest.raises(ValueError, match=r"1 of 4 lie outside scan.mhd, first .* \(voxel \[22.0, 3.0, 3.0\]"):
        check_inside(wrong, affine, SHAPE)


def test_the_header_alone_knows_where_a_metaimage_lies(tmp_path):
    affine = affine_of(AFFINES["oblique, flipped and permuted"], (0.7, 0.8, 2.5))
    file = write_metaimage(tmp_path / "scan.mhd", np.zeros(SHAPE, np.int16), affine)
    shape, found = read_grid(file)
    assert shape == SHAPE
    np.testing.assert_allclose(found, affine, atol=1e-5)


@pytest.mark.parametrize("name", AFFINES)
def test_positions_and_voxels_are_two_names_of_one_place(name):
    affine, voxels = affine_of(AFFINES[name], (0.7, 0.8, 2.5)), np.array([[3.0, 4.25, 5.5], [0.0, 0.0, 0.0]])
    positions = [world(voxel, affine) for voxel in voxels]
    np.testing.assert_allclose(to_voxels(positions, affine), voxels, atol=1e-9)


@pytest.mark.parametrize("shape", [(4, 6, 2), (3, 5, 1)])
def test_windows_hold_the_cube_around_each_voxel(shape, generator):
    volume = torch.rand(2, 7, 8, 9, generator=generator)
    windows = cube_windows(volume, shape)
    assert windows.shape == (2, 7, 8, 9, *shape)
    centers = torch.tensor([[0, 0, 0], [3, 4, 5], [6, 7, 8]])
    cubes = gather_cubes(windows, centers)
    for cube, center in zip(cubes, centers.tolist(), strict=True):
        expected = [cut_cube(channel.numpy(), center, shape) for channel in volume]
        np.testing.assert_array_equal(cube.numpy(), np.stack(expected))
