# SPDX-License-Identifier: Apache-2.0
"""The provenance of weights: how they were trained, and a hash of the tensors that it belongs to.

A mapping of plain JSON values: in the header of a safetensors file (key "provenance"), and in NAME.provenance.json
beside NAME.pt. `sha256` is that of the tensors, so it is the same in either container and with any wrapper.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from .. import __version__
from ..utils.files import write_atomically, write_json
from ..utils.settings import plain, to_optional

AXES = "RAS"  # voxel indices grow to the right, to the front and upwards
RECIPE = ("spacing", "intensity_range", "intensity_scale", "foreground_crop")  # settings: how scans are normalized
LAYERS = ("stem_channels", "dilated")  # settings that change what a network computes, and maybe no tensor's shape
OF_PRETRAINING = (
    "seed",
    "alpha",
    "beta",
    "unchanged_weight",
    "mean_weight",
    "reversal",
    "reversal_ramp",
    "amp",
)  # settings that a pre-training's provenance states as they are
OF_A_TASK = (  # likewise, a target task's
    *("task", "system", "features", *LAYERS, *RECIPE, "patch_size", "seed", "label_fraction", "augmentation"),
    *("learning_rate", "schedule", "schedule_shares", "transfer", "loaded_statistics", "amp", "channels_last"),
)
TASK = "task"  # setting: the bundle that weights are of
METHOD_OF_A_TASK = "Universal Model target task"
BATCH_STATISTICS = "batch statistics, in evaluation too"
RUNNING_STATISTICS = "running statistics in evaluation"


def pretraining_provenance(
    index: Mapping[str, Any],
    corruption: Any,
    settings: Mapping[str, Any],
    method: str = "Universal Model pre-training",
    ancestor: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a pre-training run, as far as it is known before it starts.

    Args:
        index: what store.json holds: the recipe, the sets and the cases of each split.
        corruption: the object that corrupts; its numbers are its settings.
        settings: of the run, with features, modalities in the order of their labels, and those of `OF_PRETRAINING`.
        method: its name.
        ancestor: what `continuation.continue_pretraining` returned; None is from scratch.
    """
    recipe, modalities = index["recipe"], settings["modalities"]
    probabilities = {name: value for name, value in vars(corruption).items() if isinstance(value, (int, float, str))}
    return {
        "method": method,
        "features": [int(width) for width in settings["features"]],
        "modalities": list(modalities),
        "axes": AXES,
        "spacing": list(recipe["spacing"]),
        "patch_size": list(recipe["patch_size"]),
        "intensity_range": {name: recipe["intensity_range"][name] for name in modalities},
        "intensity_scale": {name: recipe["intensity_scale"][name] for name in modalities},
        "recipe": dict(recipe),
        "corruption": probabilities,
        "data": _data_sets(index, modalities),
        **{name: plain(settings[name]) for name in OF_PRETRAINING if name in settings},
        **({} if ancestor is None else {"continued_from": dict(ancestor)}),
    }


def task_provenance(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a target task's training run, as far as it is known before it starts.

    Args:
        settings: of the run; those of `OF_A_TASK` are stated, and the file of its pretrained_weights.
    """
    start = to_optional(settings.get("pretrained_weights"))
    return {
        "method": METHOD_OF_A_TASK,
        "axes": AXES,
        **{name: plain(settings[name]) for name in OF_A_TASK if name in settings},
        "pretrained_weights": None if start is None else str(start),
    }


def _data_sets(index: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, Any]:
    """List the sets with license, and cases by modality and split."""
    sets: dict[str, Any] = {}
    for split, cases in index["splits"].items():
        counts = Counter((case.get("set", "scans"), case["modality"]) for case in cases)
        for (name, modality), count in sorted(counts.items()):
            if modality in modalities:
                facts = index.get("sets", {}).get(name, {})
                entry = sets.setdefault(name, {"license": facts.get("license", facts.get("licence", "not stated"))})
                entry.setdefault("cases", {}).setdefault(modality, {})[split] = count
    return sets


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and values; the order of the names and the container do not matter."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def provenance_file(file: str | Path) -> Path:
    """Return where the provenance of a PyTorch file is: model.pt → model.provenance.json."""
    return Path(file).with_suffix(".provenance.json")


def complete(provenance: Mapping[str, Any] | None, state: Mapping[str, Tensor], **more: Any) -> dict[str, Any]:
    """Add the kind of normalization, the versions of the code, the tensors' hash, and any further entries."""
    running = any(name.endswith(".running_mean") for name in state)
    normalization = {"normalization": RUNNING_STATISTICS if running else BATCH_STATISTICS}
    versions = {"universal-model-components": __version__}
    versions |= {name: importlib.metadata.version(name) for name in ("torch", "monai")}
    return {**normalization, **(provenance or {}), "code": versions, **more, "sha256": tensors_sha256(state)}


def write_weights(file: str | Path, state: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> None:
    """Write weights with their provenance, each file atomically.

    An interruption leaves old weights, or new ones without a provenance, never a provenance of other weights.

    Args:
        file: .safetensors, which takes the provenance inside; any other suffix is a plain PyTorch state dict, with
            the provenance beside it.
        state: tensors by name.
        provenance: as returned by `complete`.

    Raises:
        OSError: when it cannot be written.
    """
    file = Path(file)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if file.suffix == ".safetensors":
        metadata = {"format": "pt", "provenance": json.dumps(provenance, sort_keys=True, allow_nan=False)}
        # a separate tensor for each name: safetensors stores no shared memory
        unshared = {name: tensor.clone() for name, tensor in tensors.items()}
        # not `save_file`, which makes files that only their owner may read
        write_atomically(file, lambda path: path.write_bytes(save(unshared, metadata=metadata)))
        return
    provenance_file(file).unlink(missing_ok=True)
    write_atomically(file, lambda path: torch.save(tensors, path))
    write_json(provenance_file(file), provenance)


def read_provenance(file: str | Path, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the provenance in a safetensors header, or beside a PyTorch file; None when there is none.

    Raises:
        ValueError: when it is unreadable, or not a mapping in JSON.
    """
    beside = provenance_file(file)
    text, where = metadata.get("provenance"), str(file)
    try:
        if text is None and Path(file).is_file() and beside.is_file():
            where = str(beside)
            text = beside.read_text(encoding="utf-8")
        if text is None:
            return None
        provenance = json.loads(text)
        if isinstance(provenance, dict):
            return provenance
        raise ValueError(f"a {type(provenance).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: no provenance ({error}): download or write the weights again") from error


def differences(provenance: Mapping[str, Any], recipe: Mapping[str, Any], keys: Sequence[str] = RECIPE) -> list[str]:
    """List the settings in which a run differs from the weights' training, by default in how it prepares its images.

    Args:
        provenance: of the weights; what it does not state is not compared.
        recipe: settings of the run: spacing in mm, the others of its one modality, or mappings by modality.
        keys: the settings that are compared.
    """
    return [
        f"{key} {provenance[key]}, this run has {recipe[key]}"
        for key in keys
        if key in recipe and key in provenance and not _agree(provenance[key], recipe[key])
    ]


def _agree(there: Any, here: Any) -> bool:
    """Compare the modalities that both name, or the run's one modality with any of the weights'."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        return all(_plain(here[name]) == _plain(there[name]) for name in here.keys() & there.keys())
    known = there.values() if isinstance(there, Mapping) else [there]
    return _plain(here) in [_plain(one) for one in known]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else plain(value)
