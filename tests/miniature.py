# SPDX-License-Identifier: Apache-2.0
"""A miniature experiment for the tests: synthetic scans of one target task, two systems, two seeds, a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scan_files import body, write_scan

PRETRAINING = {
    "bundle": "universal_model_pretraining",
    "configs": ["train.json", "modern.json"],
    "prepare": {
        "patch_size": [16, 16, 16],
        "num_workers": 1,
        "cubes_per_volume": {"large": 1, "medium": 1, "small": 2},
        "spacing": [2.0, 2.0, 2.0],
    },
    "settings": {"features": [4, 8, 16, 32], "epochs": 1, "num_workers": 0, "device": "cpu"},
    "evaluate": "evaluate.json",
    "scans": [{"images": "scans/ct", "modality": "ct"}, {"images": "scans/mri", "modality": "mri"}],
}


def miniature(**changes: Any) -> dict[str, Any]:
    """Return the grid, with keys replaced."""
    return {
        "name": "miniature",
        "seeds": [0, 1],
        "labels": [2],
        "settings": {
            "features": [4, 8, 16, 32],
            "patch_size": [16, 16, 16],
            "spacing": [2, 2, 2],
            "batch_size": 2,
            "cubes_per_case": 2,
            "num_workers": 0,
            "epochs": 2,
            "device": "cpu",
            "image_interval": 0,
            "label_values": {"foreground": [1], "background": [0]},
        },
        "pretraining": PRETRAINING,
        "systems": {"scratch": {}, "universal": {"pretraining": {}}},
        "tasks": {
            "heart": {
                "bundle": "left_atrium_mri_segmentation",
                "modality": "mri",
                "group": "^[a-z]+_\\d+",
                "images": "heart/images",
                "labels": "heart/labels",
                "split": {"test": 1, "validation": 1},
            }
        },
        **changes,
    }


def write_miniature(folder: Path, **changes: Any) -> Path:
    """Draw the scans into a folder, and write the grid beside them."""
    for modality in ("ct", "mri"):
        for number in range(2):
            write_scan(folder / "scans" / modality / f"scan_{number}.nii.gz", body(modality=modality, seed=number))
    for number in range(5):
        image = body(modality="mri", seed=10 + number)
        write_scan(folder / "heart" / "images" / f"case_{number}.nii.gz", image)
        write_scan(folder / "heart" / "labels" / f"case_{number}.nii.gz", (image > 800).astype(np.uint8))
    (folder / "grid.json").write_text(json.dumps(miniature(**changes)))
    return folder / "grid.json"
