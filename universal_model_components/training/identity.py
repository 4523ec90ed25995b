# SPDX-License-Identifier: Apache-2.0
"""The identity of a training run: all that decides its result, as plain values; a checkpoint holds it.

A run that resumes must have the checkpoint's identity. Where it was not the same, the run would end with other weights
than it says, in silence: the optimizer's settings, for instance, come back with its state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..utils.settings import plain
from ..weights.loading import trusted_weights
from ..weights.provenance import tensors_sha256

# settings that may change on resuming: the run's length, its reports, and how data are loaded
CHANGEABLE = (
    *("epochs", "early_stopping_patience", "alarm_patience", "probe_interval", "probe_patience"),
    *("image_interval", "num_workers", "cache_rate", "resume"),
)
COUNTERS = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter", "training")  # state, not settings


def run_identity(settings: Mapping[str, Any], objects: Mapping[str, Any], ckpt_dir: str | Path) -> dict[str, Any]:
    """Return what decides a run's result.

    Args:
        settings: by key; those in `CHANGEABLE` are left out, `pretrained_weights` are a file that is named by its
            content, and an object, such as a loss, is described.
        objects: of the run, by name: networks, optimizers and schedules are described.
        ckpt_dir: whose weights the run itself replaces: there, the file's name alone counts.

    Returns:
        Strings, numbers, None, and lists and mappings of these.

    Raises:
        FileNotFoundError, ValueError: as `trusted_weights`, for the pre-trained weights.
    """
    described = {
        name: describe(thing)
        for name, thing in objects.items()
        if isinstance(thing, (nn.Module, Optimizer, LRScheduler))
    }
    given = {name: _plain(value) for name, value in settings.items() if name not in CHANGEABLE}
    if given.get("pretrained_weights") is not None:
        given["pretrained_weights"] = _content(settings["pretrained_weights"], Path(ckpt_dir))
    return {**given, **described}


def _content(weights: Any, ckpt_dir: Path) -> str:
    folder = ckpt_dir.resolve()
    if Path(str(weights)).resolve().parent == folder:  # not read: an evaluation names them before there are any
        return f"{Path(str(weights)).name} of ckpt_dir"
    found, _ = trusted_weights(weights)
    if Path(found.name).resolve().parent == folder:  # of a folder that was given
        return f"{Path(found.name).name} of ckpt_dir"
    return f"tensors of sha256 {tensors_sha256(found.state)[:16]}"


def describe(thing: Any) -> dict[str, Any]:
    """Return the class of an object and its settings: plain attributes, an optimizer's groups, a network's layers."""
    name = {"class": type(thing).__name__}
    if isinstance(thing, Optimizer):
        return name | _describe_groups(thing)
    if isinstance(getattr(thing, "settings", None), Mapping):
        return name | _plain(thing.settings)
    attributes = name | _attributes(thing)
    if isinstance(thing, nn.Module):
        layers = {
            key: {"class": type(layer).__name__} | _attributes(layer) for key, layer in thing.named_modules() if key
        }
        return {**attributes, "layers": layers}
    return attributes


def _attributes(thing: Any) -> dict[str, Any]:
    stated = {key: value for key, value in vars(thing).items() if not key.startswith("_") and key not in COUNTERS}
    return {key: _plain(value) for key, value in stated.items() if _is_plain(value)}


def _describe_groups(optimizer: Optimizer) -> dict[str, Any]:
    """Return the settings that all parameter groups share, and those of each."""
    groups = [
        {key: _plain(value) for key, value in {**group, "lr": group.get("initial_lr", group["lr"])}.items()}
        for group in ({**group, "params": len(group["params"])} for group in optimizer.param_groups)
    ]
    shared = {key: value for key, value in groups[0].items() if all(group.get(key) == value for group in groups)}
    return {**shared, "groups": [{k: v for k, v in group.items() if k not in shared} for group in groups]}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _plain(value: Any) -> Any:
    """Return a value as a checkpoint holds it, and as the command line means it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Tensor):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return plain(value)
    return describe(value) if hasattr(value, "__dict__") else str(value)


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each key whose values differ, `optimizer::momentum` for one in a mapping, with both values.

    Args:
        there: of the checkpoint; what it does not state is not compared.
        here: of this run.
    """
    for key, value in there.items():
        yield from _differences(str(key), value, here.get(key))


def _differences(key: str, there: Any, here: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for inner in {**there, **here}:
            yield from _differences(f"{key}::{inner}", there.get(inner), here.get(inner))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here) and there != here:
        for place, pair in enumerate(zip(there, here, strict=True)):
            if any(isinstance(one, Mapping) for one in pair):
                yield from _differences(f"{key}::{place}", *pair)
            elif pair[0] != pair[1]:
                yield key, there, here
                return
    elif there != here:
        yield key, there, here
