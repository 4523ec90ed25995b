# SPDX-License-Identifier: Apache-2.0
"""The files of a bundle, read and checked by `doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..tasks.findings import ERROR, FINE, WARNING, Finding

CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train", "metadata")
REQUIRED = ("train", "metadata")  # without these nothing can be trained
OTHERS = ("configs/logging.conf", "docs/README.md", "docs/data_license.txt", "LICENSE", "large_files.yml")


def read_configs(folder: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Read all configs of a bundle, overlays such as systems/med3d too, and check that its other files exist.

    Args:
        folder: of the bundle.

    Returns:
        The content of each usable config, a mapping, by its name ("train", "systems/med3d"), and what was found.
    """
    contents: dict[str, Any] = {}
    if not folder.is_dir():
        return contents, [Finding(ERROR, f"bundle: {folder} is not a folder: give one of bundles/")]
    findings: list[Finding] = []
    configs = folder / "configs"
    overlays = sorted(file.relative_to(configs).with_suffix("").as_posix() for file in configs.rglob("*.json"))
    for name in dict.fromkeys([*CONFIGS, *overlays]):
        file = configs / f"{name}.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            level = ERROR if name in REQUIRED else WARNING
            findings.append(Finding(level, f"{file}: {error.strerror}: fetch it again"))
        except (ValueError, RecursionError) as error:
            findings.append(Finding(ERROR, f"{file}: not valid JSON ({error}): correct it, or fetch it again"))
        else:
            if isinstance(content, dict):
                contents[name] = content
            else:
                kind = type(content).__name__
                findings.append(Finding(ERROR, f"{file}: holds {kind}, expected a mapping: fetch it again"))
    missing = [name for name in OTHERS if not (folder / name).is_file()]
    if missing:
        findings.append(Finding(WARNING, f"bundle: {folder} lacks {', '.join(missing)}: fetch the whole bundle"))
    elif not findings:
        findings.append(Finding(FINE, f"bundle: {folder} is complete"))
    return contents, findings
