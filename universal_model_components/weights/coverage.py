# SPDX-License-Identifier: Apache-2.0
"""Which tensors of a network a state dict fills: matched by name and shape, counted by part.

A part is the first segment of a tensor's name: encoder, decoder, classifier. Nothing is loaded here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

COUNTER = "num_batches_tracked"  # of batch normalization: one integer, not counted in a share
STATISTICS = ("running_mean", "running_var", COUNTER)


@dataclass
class Part:
    """One part of a network or file: numbers of tensors, and of the values (weights, statistics) in them.

    Args:
        name: its first segment.
        loaded: tensors with the same name and shape, reshaped ones included.
        missing: tensors that the file lacks.
        other_shape: tensors that the file has in another shape; they are not loaded.
        unexpected: tensors that only the file has.
        reshaped: loaded tensors whose single input channel was expanded to several.
        new: tensors of heads that start from random weights on purpose.
        values_loaded: values in the loaded tensors.
        values: values in the part, new heads left out.
        first: the first tensor that is missing or misshapen, with its shapes.
    """

    name: str
    loaded: int = 0
    missing: int = 0
    other_shape: int = 0
    unexpected: int = 0
    reshaped: int = 0
    new: int = 0
    values_loaded: int = 0
    values: int = 0
    first: str = ""

    @property
    def share(self) -> float | None:
        """Share of the part's values that are loaded, None when the network has no such part or it is all new."""
        return self.values_loaded / self.values if self.values else None


@dataclass
class Coverage:
    """The report on a whole network.

    Args:
        source: name of the file.
        parts: by name, the network's first.
    """

    source: str
    parts: dict[str, Part] = field(default_factory=dict)

    def __getitem__(self, part: str) -> Part:
        return self.parts[part]

    def __str__(self) -> str:
        columns = ("loaded", "missing", "other_shape", "unexpected", "reshaped", "new")
        width = max([14, *(len(name) for name in self.parts)])
        lines = [f"weights from {self.source}, in tensors:"]
        lines.append(f"{'part':<{width}}" + "".join(f"{name:>13}" for name in columns) + f"{'share':>10}")
        for part in self.parts.values():
            share = "-" if part.share is None else percent(part.share)
            lines.append(f"{part.name:<{width}}" + "".join(f"{getattr(part, c):>13}" for c in columns) + f"{share:>10}")
        return "\n".join(lines)


def match_state(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str, new_heads: Sequence[str] = ()
) -> tuple[dict[str, Tensor], Coverage]:
    """Choose the tensors of `given` that fit a network, and count them.

    Args:
        own: the network's state dict.
        given: the file's.
        source: name of the file, for the report.
        new_heads: prefixes of the tensors that are not loaded: "classifier", "decoder.head".

    Returns:
        The tensors to load, by the network's names and in its shapes, and the report.
    """
    chosen: dict[str, Tensor] = {}
    report = Coverage(source, {name: Part(name) for name in dict.fromkeys(map(part_of, own))})
    for name, tensor in own.items():
        part = report[part_of(name)]
        if is_one_of(name, new_heads):
            part.new += 1
            continue
        part.values += _values(name, tensor)
        alike = name in given and same_kind(given[name], tensor)
        fitted = fit(given[name], tensor.shape) if alike else None
        if fitted is None:
            what = "other_shape" if name in given else "missing"
            setattr(part, what, getattr(part, what) + 1)
            kind = "" if alike or name not in given else f" {str(given[name].dtype)[6:]}"
            found = f"{list(given[name].shape)}{kind} in it" if name in given else "not in it"
            part.first = part.first or f"{name} {list(tensor.shape)} is {found}"
            continue
        chosen[name] = fitted
        part.loaded += 1
        part.reshaped += given[name].shape != tensor.shape
        part.values_loaded += _values(name, tensor)
    for name in given.keys() - own.keys():
        if not unused_statistics(name, own):
            report.parts.setdefault(part_of(name), Part(part_of(name))).unexpected += 1
    return chosen, report


def least_shares(coverage: Coverage, minimum: float | Mapping[str, float]) -> dict[str, float]:
    """Return the validated minimum share of each part.

    Args:
        coverage: of the network.
        minimum: as in `loading.load_pretrained`.

    Raises:
        ValueError: when a value is not a share, or names a part without loadable tensors.
    """
    expected = 'give a number from 0 to 1, or one for each part, such as {"encoder": 1.0}'
    least = minimum if isinstance(minimum, Mapping) else dict.fromkeys(coverage.parts, minimum)
    checked = {}
    for name, threshold in least.items():
        try:
            checked[name] = float(threshold)
        except (TypeError, ValueError):
            raise ValueError(f"minimum_coverage: {threshold!r} is not a share: {expected}") from None
        if not 0 <= checked[name] <= 1:
            raise ValueError(f"minimum_coverage: {threshold} for {name} is not a share: {expected}")
        part = coverage.parts.get(name)
        if part is None or (isinstance(minimum, Mapping) and part.share is None and checked[name] > 0):
            fillable = sorted(one.name for one in coverage.parts.values() if one.share is not None)
            raise ValueError(f"minimum_coverage: the network has no part {name!r} to load (found {fillable})")
    return checked


def fit(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """Return a tensor in a network's shape, or None when it does not fit.

    A convolution with one input channel fits n channels: its weights are repeated and divided by n, so that n equal
    channels give the same output as one.

    Shape:
        (O, 1, …) → (O, n, …); any → the same.
    """
    if tensor.shape == shape:
        return tensor
    one_channel = len(shape) > 2 and tensor.ndim == len(shape) and tensor.shape[1] == 1
    if one_channel and tensor.shape[0] == shape[0] and tensor.shape[2:] == shape[2:]:
        return tensor.expand(shape) / shape[1]
    return None


def same_kind(given: Tensor, own: Tensor) -> bool:
    """Return whether both tensors hold real numbers, of whatever precision, or both whole ones, such as a counter."""
    return given.is_floating_point() == own.is_floating_point()


def percent(share: float) -> str:
    """Format a share, rounded down: 100.0% means all."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}%" if share < 1 else "100.0%"


def part_of(name: str) -> str:
    """Return the part that a tensor belongs to."""
    return name.split(".", 1)[0]


def is_one_of(name: str, heads: Iterable[str]) -> bool:
    """Return whether a tensor belongs to one of these parts or layers (name prefixes up to a dot)."""
    return any(name == head or name.startswith(f"{head}.") for head in heads)


def _values(name: str, tensor: Tensor) -> int:
    return 0 if name.endswith(COUNTER) else tensor.numel()


def unused_statistics(name: str, own: Mapping[str, Tensor]) -> bool:
    """Whether these are running statistics for a layer that, on purpose, normalizes by the batch's own."""
    layer, _, last = name.rpartition(".")
    return last in STATISTICS and f"{layer}.weight" in own and f"{layer}.running_mean" not in own
