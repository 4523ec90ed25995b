# SPDX-License-Identifier: Apache-2.0
"""`python -m universal_model_components weights …`: inspect, convert, verify and compare weight files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..utils.archives import check_zip
from ..weights.conversion import encoder_features, encoder_for, from_original, is_original
from ..weights.coverage import match_state, part_of
from ..weights.files import WeightFile, open_weights
from ..weights.large_files import file_hash, problem_of, read_large_files
from ..weights.loading import trusted_weights
from ..weights.monai_networks import NETWORKS
from ..weights.provenance import complete, read_provenance, tensors_sha256, write_weights

TARGETS = ("universal", "encoder", "safetensors", "pt", *NETWORKS)
WEIGHT_FILES = (".pt", ".safetensors")


def inspect(file: str) -> None:
    """Print the content of a weight file: shapes, parts, width, provenance, hashes. No code in it is run.

    Args:
        file: .pt or .safetensors, of ours or an original checkpoint.
    """
    found = open_weights(file, "weights inspect")
    for name, tensor in found.state.items():
        print(f"{name:<56} {'×'.join(map(str, tensor.shape)) or 'scalar':>20} {str(tensor.dtype)[6:]}")
    provenance = read_provenance(found.name, found.metadata)
    tensors = tensors_sha256(found.state)
    original = is_original(found.state)
    facts = {
        "file": found.name,
        "kind": " in ".join([found.kind, *found.wrapping]),
        "sha256 of the file": file_hash(found.name),
        "sha256 of the tensors": tensors,
        "parts": ", ".join(f"{name} {count:,}" for name, count in _values(found.state).items()),
        "names": "the original's (convert, or load as they are)" if original else "as in the file",
        "features": encoder_features(_our_names(found)) or "unknown",
        "provenance": "none" if provenance is None else _held(provenance, tensors),
    }
    print(*(f"{name:<22} {value}" for name, value in facts.items()), sep="\n")
    if provenance is not None:
        print(json.dumps(provenance, indent=2, sort_keys=True))


def _our_names(found: WeightFile) -> Mapping[str, Tensor]:
    return from_original(found.state, found.name)[0] if is_original(found.state) else found.state


def _held(provenance: Mapping[str, Any], tensors: str) -> str:
    stated = str(provenance.get("sha256"))
    if stated == tensors:
        return "of these tensors"
    return f"NOT of these tensors, its sha256 is {stated[:12]}…: do not trust either, and no training takes them"


def _values(state: Mapping[str, Tensor]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for name, tensor in state.items():
        parts[part_of(name)] = parts.get(part_of(name), 0) + tensor.numel()
    return parts


def convert(file: str, to: str, output: str) -> None:
    """Write weights under other names or in another container, with a provenance that names their source.

    Args:
        file: what to convert, of ours or an original checkpoint such as Genesis_Chest_CT.pt.
        to: universal (our names), encoder (that part alone), safetensors or pt, basic_unet or unet (MONAI's names).
        output: file to write, .pt or .safetensors; it must not exist.
    """
    target, name = Path(output), "weights convert"
    if to not in TARGETS:
        raise ValueError(f"{name}: --to {to} is unknown: give one of {', '.join(TARGETS)}")
    if target.suffix not in WEIGHT_FILES or (to in ("pt", "safetensors") and target.suffix != f".{to}"):
        raise ValueError(f"{name}: --output {output} ends in {target.suffix or 'nothing'}: give a .pt or .safetensors")
    if target.exists():
        raise ValueError(f"{name}: --output {output} exists: give another name, or remove it")
    found, provenance = trusted_weights(file)
    state = found.state
    if to not in ("safetensors", "pt") and not encoder_features(state):
        raise ValueError(f"{name}: {file} has no tensor of an encoder: --to safetensors or pt keep foreign names")
    described = {"features": encoder_features(state), **(provenance or {})}
    first = {"file": Path(found.name).name, "sha256": file_hash(found.name)}
    described.setdefault("converted_from", first)
    if is_original(open_weights(file).state):
        described |= {"method": "original implementation, converted", "output": "a sigmoid of the logits"}
    if to == "encoder":
        state = {key: tensor for key, tensor in state.items() if part_of(key) == "encoder"}
    if to in NETWORKS:
        network = NETWORKS[to](encoder_features(state))
        state, coverage = match_state(network.state_dict(), encoder_for(network, state), file)
        described["network"] = f"monai.networks.nets.{type(network).__name__}, see monai_networks.{to}"
        print(coverage)
    write_weights(target, state, complete(described, state))
    print(f"{target}: {len(state)} tensors")


def verify(bundle: str) -> None:
    """Check a bundle's files against its large_files.yml, and its weights against their provenance; exit 1 on a fault.

    Args:
        bundle: folder of a bundle, or a zipped one, which is read without unpacking it.
    """
    if Path(bundle).suffix in WEIGHT_FILES:  # a .pt is a zip too
        raise ValueError(f"weights verify: {bundle} is one file: give its bundle, or use `weights inspect`")
    if Path(bundle).is_file():
        print(f"{bundle}: whole, {len(check_zip(bundle))} files, all inside its folder")
        return
    entries, problems = read_large_files(bundle), []
    for entry in entries:
        file = Path(bundle) / entry["path"]
        problem = problem_of(file, entry)
        if problem is None and file.suffix in WEIGHT_FILES:
            problem = _provenance_problem(file)
        print(problem or f"{file}: as listed")
        problems += [problem] if problem else []
    if problems:
        raise ValueError(f"weights verify: {len(problems)} of {len(entries)} files are not as listed in {bundle}")
    print(f"{bundle}: {len(entries)} listed files, all as listed")


def _provenance_problem(file: Path) -> str | None:
    try:
        trusted_weights(file)
    except ValueError as error:
        return str(error)
    return None


def compare(a: str, b: str) -> None:
    """Compare two files of weights tensor by tensor; exit 1 when they differ.

    Args:
        a: .pt or .safetensors, of ours or an original checkpoint (by our names then).
        b: the other.
    """
    first, second = trusted_weights(a)[0].state, trusted_weights(b)[0].state
    different = 0
    for name in [*first, *(name for name in second if name not in first)]:
        line = _difference(first.get(name), second.get(name))
        different += line is not None
        if line is not None:
            print(f"{name:<56} {line}")
    total = len(first.keys() | second.keys())
    if different:
        raise ValueError(f"weights compare: {different} of {total} tensors differ between {a} and {b}")
    print(f"{a} and {b}: the same {total} tensors")


def _difference(first: Tensor | None, second: Tensor | None) -> str | None:
    if first is None or second is None:
        return "only in the second" if first is None else "only in the first"
    if first.shape != second.shape:
        return f"{list(first.shape)} and {list(second.shape)}"
    if torch.equal(first, second):
        return None
    gap = (first.double() - second.double()).abs()
    scale = first.double().abs().mean().clamp_min(1e-30)
    return f"largest difference {float(gap.max()):.3g}, mean {float(gap.mean() / scale):.2%} of the values' mean"


WEIGHTS = {"inspect": inspect, "convert": convert, "verify": verify, "compare": compare}
