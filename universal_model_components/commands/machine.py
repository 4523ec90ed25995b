# SPDX-License-Identifier: Apache-2.0
"""Checks of a machine before training: disk, memory, device, packages. Nothing is written or started."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from monai.bundle import ConfigParser

from ..tasks.findings import ERROR, FINE, WARNING, Finding

BYTES_A_PARAMETER = 2 * (4 + 12)  # model.pt; checkpoint.pt with Adam's two moments; old and new side by side
LOGS = 100e6
WIDE_ON_CPU = 64  # channels of the first level


def check_disk(folder: str | Path, needed: float, key: str) -> Finding:
    """Check that a folder is writable, and has room for `needed` bytes; it need not exist yet."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        return Finding(ERROR, f"{key}: {folder} cannot be written: give another folder, or correct its permissions")
    free = shutil.disk_usage(place).free
    text = f"{key}: {free / 1e9:.1f} GB free at {folder}, about {needed / 1e9:.2f} GB needed"
    return Finding(FINE, text) if free > needed else Finding(ERROR, f"{text}: free some, or give another folder")


def check_memory(needed: float, what: str, advice: str) -> Finding:
    """Check that `needed` bytes of memory are available."""
    available = psutil.virtual_memory().available
    text = f"memory: {available / 1e9:.1f} GB available, {what} takes about {needed / 1e9:.2f} GB"
    return Finding(FINE, text) if available > needed else Finding(WARNING, f"{text}: {advice}")


def network_bytes(parser: ConfigParser) -> int:
    """Return the size of the parameters of a config's `network_def`; no memory is taken for them."""
    with torch.device("meta"):
        network = ConfigParser(parser.get()).get_parsed_content("network_def")
    return sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())


def check_device(device: Any, features: Any) -> Finding:
    """Check that a device exists, and is fast enough for the width."""
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        return Finding(ERROR, f"device: {device!r} is not a device ({str(error).splitlines()[0]}): give cpu or cuda:0")
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        if (chosen.index or 0) >= count:
            return Finding(ERROR, f"device: {chosen}, but PyTorch sees {count} CUDA devices: give another, or cpu")
        properties = torch.cuda.get_device_properties(chosen)
        return Finding(FINE, f"device: {properties.name}, {properties.total_memory / 1e9:.0f} GB")
    text = f"device: {chosen}, {torch.get_num_threads()} threads"
    if chosen.type == "cpu" and features and max(features[:1]) >= WIDE_ON_CPU:
        return Finding(WARNING, f'{text}, at full width: a step takes seconds or more; try --features "[8,16,32,64]"')
    return Finding(FINE, text)


def check_packages(metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the packages that metadata.json requires with the installed ones."""
    versions = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    others = metadata.get("required_packages_version", {})
    if not isinstance(others, Mapping):
        yield Finding(ERROR, f"metadata.json: required_packages_version is {type(others).__name__}, expected a mapping")
        others = {}
    wanted = {**{name: metadata[key] for name, key in versions.items() if key in metadata}, **others}
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except (importlib.metadata.PackageNotFoundError, ValueError):  # ValueError for an empty name
            yield Finding(ERROR, f"metadata.json: {name} {version} is not installed: pip install {name}")
            continue
        if version and _numbers(found) < _numbers(str(version)):
            yield Finding(WARNING, f"metadata.json: made with {name} {version}, installed is {found}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
