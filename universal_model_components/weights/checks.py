# SPDX-License-Identifier: Apache-2.0
"""Checks of a file of `torch.save`, before and after it is read: plain values and tensors, none larger than the file.

`torch.load(weights_only=True)` runs no code from a file. A small file could still exhaust the machine: by a compressed
member, a tensor whose strides repeat a few bytes, a function that allocates, or a tuple that takes forever to hash.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

PLAIN = {  # what the pickles of weights and of checkpoints name; each takes no more memory than its arguments
    *("collections OrderedDict", "collections Counter", "builtins set", "__builtin__ set"),
    *("torch Size", "torch device", "torch.nn.parameter Parameter", "torch.storage UntypedStorage"),
    *(f"torch._utils _rebuild_{kind}" for kind in ("tensor", "tensor_v2", "tensor_v3")),
    *(f"torch._utils _rebuild_{kind}" for kind in ("parameter", "parameter_with_state")),
}
OPERATIONS = 2_000_000  # in a pickle; the largest networks have some 100,000
TUPLE_ITEMS, TUPLE_DEPTH = 100_000, 100  # nested items, counted as often as they are repeated
LEGACY_PICKLES = 5  # of `torch.save` before PyTorch 1.6; the tensors follow
SHARED = 4  # a tensor may have several names, but not without end
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class NotPlainError(ValueError):
    """A file that is not read; the message continues a sentence that begins with its name."""


def check_file(file: str | Path) -> None:
    """Check a file of `torch.save` before it is read.

    Raises:
        NotPlainError: when it is damaged, its members are compressed or claim more bytes than it has, or its pickles
            hold code, other tensors than dense ones, or too much.
        Exception: when it is neither a zip nor a pickle.
    """
    with Path(file).open("rb") as handle:
        if handle.read(4) == b"PK\x03\x04":
            _check_archive(handle, Path(file).stat().st_size)
            return
        handle.seek(0)
        for _ in range(LEGACY_PICKLES):
            check_pickle(handle)


def _check_archive(handle: IO[bytes], size: int) -> None:
    with zipfile.ZipFile(handle) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise NotPlainError("is a TorchScript archive")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise NotPlainError("has compressed members, which torch.save does not write")
        if sum(member.file_size for member in members) > size:
            raise NotPlainError(f"has members that claim more than its {size} bytes")
        if (damaged := archive.testzip()) is not None:
            raise NotPlainError(f"is damaged ({damaged.partition('/')[2]} has another checksum)")
        for member in members:
            if member.filename.endswith(".pkl"):
                with archive.open(member) as stream:
                    check_pickle(stream)


def check_pickle(stream: IO[bytes]) -> None:
    """Follow a pickle's operations without executing any; the stream is left at its end.

    Raises:
        NotPlainError: when it names anything but `PLAIN`, or is too long or too nested.
        Exception: when it is not a pickle.
    """
    stack: list[tuple[int, int] | None] = []  # each object's number of items and its depth; None is a mark
    memo: dict[Any, tuple[int, int] | None] = {}
    for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        if count > OPERATIONS:
            raise NotPlainError(f"has a pickle of more than {OPERATIONS} operations")
        if operation.name == "GLOBAL":
            _check_name(str(argument))
        if "PUT" in operation.name:
            memo[argument] = stack[-1]
        elif "GET" in operation.name:
            stack.append(memo[argument])
        elif operation.name == "MARK":
            stack.append(None)
        else:
            parts = _pop(stack, operation)
            items = min(1 + sum(items for items, _ in parts), 2 * TUPLE_ITEMS)  # repeated lists double it each time
            made = (items, 1 + max((depth for _, depth in parts), default=0))
            if "TUPLE" in operation.name and (made[0] > TUPLE_ITEMS or made[1] > TUPLE_DEPTH):
                raise NotPlainError("has a pickle with tuples that are too nested")
            stack += [made] * len(operation.stack_after)


def _pop(stack: list[tuple[int, int] | None], operation: pickletools.OpcodeInfo) -> list[tuple[int, int]]:
    """Take an operation's operands from the stack: those above the last mark, if it uses one, and a fixed number."""
    fixed, parts = len(operation.stack_before), []
    if pickletools.markobject in operation.stack_before:
        fixed = operation.stack_before.index(pickletools.markobject)
        while (part := stack.pop()) is not None:
            parts.append(part)
    return parts + [part for part in (stack.pop() for _ in range(fixed)) if part is not None]


def _check_name(name: str) -> None:
    module, _, last = name.partition(" ")
    of_torch = module == "torch" and (last.endswith("Storage") or isinstance(getattr(torch, last, None), torch.dtype))
    if name in PLAIN or of_torch:
        return
    dotted = f"{module}.{last}".removeprefix("__builtin__.").removeprefix("builtins.")
    if dotted.startswith("torch._utils._rebuild"):
        raise NotPlainError(f"holds tensors that are not plain, dense ones ({dotted})")
    raise NotPlainError(f"holds code ({dotted}), which is not run")


def check_sizes(content: Any, size: int) -> None:
    """Check that no tensor repeats its bytes in memory, nor all together many times those of their file.

    Args:
        content: what `torch.load` returned; no tensor's values are read.
        size: of the file, in bytes.

    Raises:
        NotPlainError: when one does; the message names it.
    """
    total = 0
    for name, tensor in _tensors(content):
        if tensor.layout != torch.strided or tensor.is_nested or tensor.device.type == "meta":
            continue  # refused where the tensor is used
        values, there = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        total += values
        if values > there:
            raise NotPlainError(f"has {name} {list(tensor.shape)}, {values} bytes, but only {there} are stored for it")
    if total > SHARED * size:
        raise NotPlainError(f"has tensors of {total} bytes in all, more than {SHARED} times its own {size}")


def _tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in mappings and lists, with their last keys; each container once, it may hold itself."""
    left, seen = [("a tensor", content)], set[int]()
    while left:
        name, value = left.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            inner = value.items() if isinstance(value, Mapping) else ((name, item) for item in value)
            left += [(key if isinstance(key, str) else name, item) for key, item in inner]


def kind_problem(tensor: Tensor) -> str | None:
    """Return what keeps a tensor from being a weight or a buffer: "a sparse_coo tensor"; None when nothing does."""
    if tensor.is_nested or tensor.layout != torch.strided:
        return "a nested tensor" if tensor.is_nested else f"a {str(tensor.layout)[6:]} tensor"
    if tensor.device.type == "meta":
        return "a meta tensor, without values"
    return None if tensor.dtype in FLOATS + INTEGERS else f"a {str(tensor.dtype)[6:]} tensor"
