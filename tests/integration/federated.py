# SPDX-License-Identifier: Apache-2.0
"""Clients of a federation for every bundle: data of their own, and MONAI's `MonaiAlgo` on an unchanged copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

SIDES = (24, 20, 18)  # voxels of a client's scans, 1 mm, axes LPS
SETTINGS = {"features": [4, 8, 16, 32], "patch_size": [16, 16, 16], "num_workers": 0, "batch_size": 2}


def write_data(bundle: str, folder: Path, seed: int) -> dict[str, Any]:
    """Write a few scans of noise with a bright box, and a datalist of the bundle's kind; return the settings."""
    generator = np.random.default_rng(seed)
    entries = []
    for number in range(4):
        voxels = generator.integers(0, 400, SIDES).astype(np.int16)
        corner = generator.integers(2, 8, 3)
        box = tuple(slice(first, first + 8) for first in corner)
        voxels[box] += 500
        mask = np.zeros(SIDES, np.uint8)
        mask[box] = 1
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        entry: dict[str, Any] = {"image": f"{number}.nii.gz", "case": str(number), "group": str(number)}
        folder.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / entry["image"])
        if bundle.endswith("segmentation"):
            entry["label"] = f"{number}_label.nii.gz"
            nibabel.save(nibabel.Nifti1Image(mask, affine), folder / entry["label"])
        elif bundle.startswith("lung_nodule"):  # mm, LPS: with this affine the voxel itself
            entry["candidates"] = [[*map(float, corner + 4), 1], [20.0, 17.0, 15.0, 0]]
        else:
            entry["label"] = number % 2
        entries.append(entry)
    lists = {"training": entries[:2], "validation": entries[2:], "test": entries[2:]}
    (folder / "datalist.json").write_text(json.dumps(lists))
    return {"dataset_dir": str(folder), "datalist": str(folder / "datalist.json")}


def make_client(bundle: Path, folder: Path, name: str, settings: dict[str, Any]) -> MonaiAlgo:
    """Start a client on a copy of a bundle; its data and sizes are settings, its files are as they were."""
    shutil.copytree(bundle, folder / bundle.name)
    settings = {**SETTINGS, **settings, "bundle_root": str(folder / bundle.name)}
    client = MonaiAlgo(
        bundle_root=bundle.name,
        local_epochs=1,
        send_weight_diff=False,
        train_kwargs=dict(settings),
        eval_kwargs={**settings, "split": "validation", "trained::weights": None},
    )
    client.initialize(extra={ExtraItems.CLIENT_NAME: name, ExtraItems.APP_ROOT: str(folder)})
    return client


def average(weights: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Federated averaging, each client counting the same; counters stay whole numbers."""
    return {
        name: torch.stack([torch.as_tensor(one[name]).double() for one in weights]).mean(0).to(tensor.dtype)
        for name, tensor in weights[0].items()
    }


def one_round(clients: list[MonaiAlgo], start: dict[str, torch.Tensor]) -> tuple[list[dict], dict, list[dict]]:
    """Train every client from `start`, average once, and evaluate the average with every client.

    Returns:
        What each client sent back, the average, and the metrics that each client measured of it.
    """
    sent = []
    for client in clients:
        client.train(ExchangeObject(weights=dict(start)))
        sent.append(dict(client.get_weights().weights))
    mean = average(sent)
    metrics = [dict(client.evaluate(ExchangeObject(weights=dict(mean))).metrics) for client in clients]
    return sent, mean, metrics
