# SPDX-License-Identifier: Apache-2.0
"""Files that cannot be used, of every kind that users report; each function writes one into a folder and returns it."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import torch
from scan_files import body, write_scan

from universal_model_components.cubes.recipe import make_recipe
from universal_model_components.cubes.store import case_file, recipe_id
from universal_model_components.method.models import SegmentationModel
from universal_model_components.weights.provenance import complete, write_weights

Maker = Callable[[Path], Any]

SHAPE = (16, 16, 16)
FEATURES = (4, 8)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 123456\n"
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = -1 0 0 0 -1 0 0 0 1\n"
META += "DimSize = 16 16 16\nElementType = {}\nElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: {}\ndimension: {}\nsizes: {}\nencoding: raw\nendian: little\nspace: left-posterior-superior\n"
NRRD += "space directions: (-1,0,0) (0,-1,0) (0,0,1)\nspace origin: (0,0,0)\n{}\n"


def raw(content: bytes, name: str = "bad.nii.gz") -> Maker:
    """Any bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def text(content: str, name: str) -> Maker:
    return raw(content.encode(), name)


def nifti(voxels: np.ndarray, affine: Any = None, name: str = "bad.nii.gz") -> Maker:
    """Any voxels."""

    def make(folder: Path) -> Path:
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine), folder / name)
        return folder / name

    return make


def header(*edits: tuple[int, str, Sequence[Any]], name: str = "bad.nii.gz") -> Maker:
    """A good NIfTI whose header has other bytes: offset, format of `struct`, values."""

    def make(folder: Path) -> Path:
        content = bytearray(gzip.decompress(write_scan(folder / "good.nii.gz", body(SHAPE), 1.0).read_bytes()))
        for offset, form, values in edits:
            struct.pack_into(form, content, offset, *values)
        (folder / name).write_bytes(gzip.compress(bytes(content)) if name.endswith(".gz") else bytes(content))
        return folder / name

    return make


def cut(share: float, name: str = "bad.nii.gz") -> Maker:
    """A good NIfTI, of which only the first part is there."""

    def make(folder: Path) -> Path:
        file = write_scan(folder / name, body(SHAPE), 1.0)
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
        return file

    return make


def missing(folder: Path) -> Path:
    return folder / "bad.nii.gz"


def broken_link(folder: Path) -> Path:
    os.symlink(folder / "nowhere.nii.gz", folder / "bad.nii.gz")
    return folder / "bad.nii.gz"


def a_folder(folder: Path) -> Path:
    (folder / "bad.nii.gz").mkdir()
    return folder / "bad.nii.gz"


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "bad.nii.gz", "w") as made:
        made.writestr("scan.nii", b"0" * 400)
    return folder / "bad.nii.gz"


def rgb(folder: Path) -> Path:
    color = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(color, np.eye(4)), folder / "bad.nii.gz")
    return folder / "bad.nii.gz"


def listed(change: Callable[[dict[str, Any]], Any]) -> Maker:
    """A datalist of two good cases in each list, after a change."""

    def make(folder: Path) -> Path:
        entries = []
        for number in range(4):
            image = write_scan(folder / f"image_{number}.nii.gz", body(SHAPE, seed=number))
            mask = write_scan(folder / f"mask_{number}.nii.gz", np.pad(np.ones((8, 8, 8), np.uint8), 4))
            entries.append({"image": image.name, "label": mask.name, "modality": "ct", "case": str(number)})
        content: dict[str, Any] = {"training": entries[:2], "validation": entries[2:], "test": [dict(entries[3])]}
        changed = change(content)
        (folder / "bad.json").write_text(json.dumps(content if changed is None else changed))
        return folder / "bad.json"

    return make


def entry(split: str = "test", **changes: Any) -> Maker:
    """A datalist whose first entry in a list is changed; None removes a key."""

    def change(content: dict[str, Any]) -> None:
        merged = {**content[split][0], **changes}
        content[split][0] = {key: value for key, value in merged.items() if value is not None}

    return listed(change)


def store(change: Callable[[dict[str, Any], Path], Any], recipe: str | None = None) -> Maker:
    """A store of one case in each split, after a change of `store.json` or of the first case's file."""

    def make(folder: Path) -> Path:
        made = make_recipe({"patch_size": [8, 8, 8]}, ["ct"]).to_dict()
        cases = {
            split: [{"case": f"ct/{split}", "modality": "ct", "group": split, "set": "scans", "counts": [1, 0, 0]}]
            for split in ("training", "validation")
        }
        (folder / "cases").mkdir()
        for (case,) in cases.values():
            with h5py.File(case_file(folder, case["case"]), "w") as file:
                file["cubes"] = np.zeros((1, 8, 8, 8), np.uint16)
                file.attrs.update({key: case[key] for key in ("case", "modality", "counts")})
                file.attrs["recipe_id"] = recipe or recipe_id(made)
        content = {"recipe": made, "splits": cases}
        changed = change(content, case_file(folder, "ct/training"))
        text = changed if isinstance(changed, str) else json.dumps(content)
        (folder / "store.json").write_text(text)
        return folder

    return make


def weights(change: Callable[[dict[str, Any]], Any], name: str = "bad.pt") -> Maker:
    """Weights of a segmentation after a change of its tensors."""

    def make(folder: Path) -> Path:
        torch.manual_seed(0)
        state = dict(SegmentationModel(features=FEATURES).state_dict())
        changed = change(state)
        torch.save(state if changed is None else changed, folder / name)
        return folder / name

    return make


def with_nan(state: dict[str, Any]) -> None:
    next(iter(state.values())).fill_(np.nan)


def other_provenance(folder: Path) -> Path:
    """Weights beside the provenance of others."""
    state = SegmentationModel(features=FEATURES).state_dict()
    write_weights(folder / "bad.pt", state, {**complete({}, state), "sha256": "0" * 64})
    return folder / "bad.pt"
