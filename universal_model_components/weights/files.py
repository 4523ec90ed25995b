# SPDX-License-Identifier: Apache-2.0
"""Weight files and their wrappers: a state dict, {"model": …}, {"state_dict": …}, prefixes, safetensors.

Nothing in a file is executed: PyTorch files are read with `weights_only=True`, and one that holds code is refused.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .checks import NotPlainError, check_file, check_sizes, kind_problem
from .hub import find_weights

WRAPPERS = ("state_dict", "model", "network", "model_state_dict")  # "network" is our own checkpoint.pt
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile


@dataclass
class WeightFile:
    """The content of a weight file.

    Args:
        name: the file's path, or another name of the source, for messages.
        state: tensors by name, without wrapper and prefixes.
        kind: "safetensors", "PyTorch" or "mapping".
        wrapping: what was removed, such as ["state_dict", "module."].
        metadata: the strings in a safetensors header, such as the provenance.
    """

    name: str
    state: dict[str, Tensor]
    kind: str
    wrapping: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


def open_weights(source: str | Path | Mapping[str, Any], key: str = "pretrained_weights") -> WeightFile:
    """Read weights from a file or take them from a mapping, and unwrap them.

    Args:
        source: a file of `torch.save` or safetensors, or where `hub.find_weights` finds one, or what `torch.load`
            returned.
        key: start of the messages.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a weight file, is truncated, or is a pickle with code in it, which is named.
    """
    if isinstance(source, Mapping):
        return _unwrap(WeightFile("the given mapping", dict(source), "mapping"), key)
    if not isinstance(source, (str, Path)) or source == "":  # python-fire: True for an option without a value
        raise ValueError(f"{key}: {source!r} is not a file: give a .pt or .safetensors, or null for none")
    file = find_weights(source, key)
    with file.open("rb") as handle:
        start = handle.read(64)
    if start.lstrip()[:1] == b"<" or start.startswith(b"version https://git-lfs"):
        found = "a web page" if start.lstrip()[:1] == b"<" else "a Git LFS pointer"
        raise ValueError(f"{key}: {file} is {found}, not weights: download it again")
    if file.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(file, key)
    return _unwrap(WeightFile(str(file), load_pickle(file, key), "PyTorch"), key)


def load_pickle(
    file: str | Path, key: str = "pretrained_weights", advice: str = "save the plain state dict of its network"
) -> Any:
    """Read what `torch.save` wrote, without running any of it, and without taking more memory than the file.

    Args:
        file: weights or a checkpoint.
        key: start of the message.
        advice: end of the message.

    Raises:
        ValueError: when the file is truncated or foreign, holds code, tensors that are not dense, or tensors larger
            than what is stored for them; the message names the first object that is more than a tensor, a number, a
            string or a container of these.
    """
    try:
        check_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
        check_sizes(content, Path(file).stat().st_size)
    except NotPlainError as error:
        raise ValueError(f"{key}: {file} {error}: {advice}") from error
    except Exception as error:  # a truncated or foreign file fails in many ways
        raise ValueError(f"{key}: {file} is unreadable ({type(error).__name__}): {advice}") from error
    return content


def _read_safetensors(file: Path, key: str) -> WeightFile:
    try:
        with safe_open(file, framework="pt", device="cpu") as content:
            state = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  not a mapping
            metadata = dict(content.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{key}: {file} is unreadable or truncated ({error}): download or write it again") from error
    return _unwrap(WeightFile(str(file), state, "safetensors", metadata=metadata), key)


def _unwrap(found: WeightFile, key: str) -> WeightFile:
    """Remove wrappers and prefixes, and check that plain tensors are left."""
    content: Any = found.state
    for _ in WRAPPERS:  # at most once each: a mapping may hold itself
        inner = content if isinstance(content, Mapping) else {}
        wrapper = next((name for name in WRAPPERS if isinstance(inner.get(name), Mapping)), None)
        if wrapper is not None:
            content = content[wrapper]
            found.wrapping.append(wrapper)
    items = content.items() if isinstance(content, Mapping) else ()
    if not items or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in items):
        mapping = isinstance(content, Mapping)
        what = f"a mapping of {reprlib.repr(list(content)[:4])[:200]}" if mapping else type(content).__name__
        raise ValueError(f"{key}: {found.name} holds {what}, expected a plain state dict: give a model.pt")
    found.state = dict(content)
    for name, tensor in found.state.items():
        if problem := kind_problem(tensor):
            raise ValueError(f"{key}: {name} in {found.name} is {problem}, expected plain numbers: give a model.pt")
    for prefix in PREFIXES * 2:
        if all(name.startswith(prefix) for name in found.state):
            found.state = {name.removeprefix(prefix): tensor for name, tensor in found.state.items()}
            found.wrapping.append(prefix)
    return found
