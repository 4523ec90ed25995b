# SPDX-License-Identifier: Apache-2.0
"""The command `features`: pooled features of scans, or of points in them, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..inference.encoder import encoder
from ..inference.extraction import RECIPE, FeatureExtractor, recipe_for_features
from ..inference.feature_table import check_output, constant_features, feature_names, write_table
from ..inference.runner import report_skipped
from ..inference.scan_rows import identity_columns, list_rows
from ..tasks.settings import check_settings
from ..utils.settings import to_bool, to_optional
from ..weights.conversion import encoder_features
from ..weights.loading import trusted_weights


def features(
    scans: str,
    weights: str,
    output: str,
    modality: str | None = None,
    dataset_dir: str | None = None,
    split: str | None = None,
    spacing: Any = None,
    patch_size: Any = None,
    intensity_range: Any = None,
    intensity_scale: Any = None,
    overlap: float = 0.25,
    batch_size: int = 4,
    num_workers: int = 1,
    device: str | None = None,
    strict: bool = False,
) -> None:
    """Write the encoder's features of scans, or of points in them, as a table: one row for each, a column a channel.

    A scan or point that cannot be used is skipped and named.

    Args:
        scans: a scan; a folder with sub-folders named by modality; a datalist; or a CSV with a column image, and
            optionally x, y, z (mm, LPS), size (mm) and modality.
        weights: .pt or .safetensors; its provenance says how scans are prepared.
        output: .csv, or .parquet where pyarrow is installed.
        modality: of all scans, such as ct; by default of the sub-folder, the datalist or the CSV.
        dataset_dir: folder that the paths of a datalist or CSV are relative to; by default its `root`, or its folder.
        split: list of the datalist; by default all.
        spacing: mm, null for each scan's own; by default, as the next three, what the provenance states.
        patch_size: voxels of a window, or of a cube around a point.
        intensity_range: lowest and highest intensity, null for each scan's own; or a mapping of these by modality.
        intensity_scale: range, volume or percentiles, or a mapping by modality.
        overlap: of the windows of a whole scan.
        batch_size: windows or cubes at a time.
        num_workers: processes that read scans ahead.
        device: such as cpu or cuda:1; by default a GPU where there is one.
        strict: whether one skipped scan or point is an error.
    """
    file, only_all = Path(str(output)), to_bool(strict, "strict")
    check_output(file)
    options = dict(zip(RECIPE, (spacing, patch_size, intensity_range, intensity_scale), strict=True))
    given = {key: to_optional(value) for key, value in options.items() if value is not None}
    found, provenance = trusted_weights(weights)
    recipe = recipe_for_features(provenance, given, found.name)
    widths = encoder_features(found.state)
    device = to_optional(device) or ("cuda" if torch.cuda.is_available() else "cpu")
    of_computing = {"overlap": overlap, "batch_size": batch_size, "num_workers": num_workers, "device": device}
    check_settings({**recipe, "features": widths, **of_computing})
    by_modality = (recipe[key] for key in ("intensity_range", "intensity_scale"))
    modalities = next((sorted(value) for value in by_modality if isinstance(value, dict)), None)
    rows = list_rows(str(scans), modalities, modality, dataset_dir, split)
    print("prepared by", ", ".join(f"{key} {value}" for key, value in recipe.items()))
    vectors, problems = FeatureExtractor(encoder(weights), recipe, batch_size, overlap, device).extract(
        rows, num_workers
    )
    kept, names = sorted(vectors), feature_names(widths)
    if kept:
        _write(file, identity_columns([rows[number] for number in kept]), np.stack([vectors[n] for n in kept]), names)
    report_skipped(problems, len(rows) - len(kept), len(rows), only_all, f"rows written to {file}")


def _write(file: Path, identity: Any, values: np.ndarray, names: list[str]) -> None:
    write_table(file, {**identity, **dict(zip(names, values.T, strict=True))})
    constant = constant_features(values, names)
    print(f"{len(constant)} of {len(names)} features never vary{': ' + ', '.join(constant) if constant else ''}")
