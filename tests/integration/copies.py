# SPDX-License-Identifier: Apache-2.0
"""Copies of bundles for the tools to work on, with weights where the bundle has none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor


def with_weights(bundle: Path, folder: Path, **settings: Any) -> Path:
    """Copy a bundle into `folder`, with the network's own first weights where it has no model.pt.

    Args:
        bundle: left as it is.
        folder: the copy is `folder / bundle.name`.
        settings: top-level keys that replace those of train.json and inference.json, such as narrow `features`.
    """
    copy = folder / bundle.name
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("model.*", "*.ts", "*.onnx"))
    for file in filter(Path.is_file, (copy / "configs" / f"{name}.json" for name in ("train", "inference"))):
        config = json.loads(file.read_text())
        file.write_text(json.dumps(config | {key: value for key, value in settings.items() if key in config}, indent=4))
    if (bundle / "models/model.pt").is_file() and not settings:
        for file in (bundle / "models").glob("model.*"):
            shutil.copy(file, copy / "models")
    else:
        (copy / "models").mkdir(exist_ok=True)
        torch.save(open_bundle(copy).get_parsed_content("network_def").state_dict(), copy / "models/model.pt")
    return copy


def open_bundle(bundle: Path) -> ConfigParser:
    """Parse a bundle's inference.json, with its metadata."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    parser.read_meta(str(bundle / "configs/metadata.json"))
    parser["bundle_root"] = str(bundle)
    return parser


@torch.no_grad()
def halve_mask(bundle: Path, volume: Tensor) -> None:
    """Scale and shift the last layer of a segmentation bundle's weights so that half of a scan becomes foreground.

    The mask of first weights is all or nothing, and would agree with any other; this one has a rugged surface.

    Args:
        bundle: a copy, whose model.pt is rewritten.
        volume: normalized scan, (H, W, D).
    """
    file, parser = bundle / "models/model.pt", open_bundle(bundle)
    network, slide = parser.get_parsed_content("network_def"), parser.get_parsed_content("inferer")
    network.load_state_dict(torch.load(file, weights_only=True))
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm3d)):
        norm.momentum = None  # running statistics become those of this scan, else most channels are dead
    slide(volume[None, None], network.train())
    logits = slide(volume[None, None], network.eval())
    head, spread = network.decoder.head, logits.std()
    head.bias.sub_(logits.median()).div_(spread)
    head.weight.div_(spread)
    torch.save(network.state_dict(), file)
