# SPDX-License-Identifier: Apache-2.0
"""Weights in a bundle: the names that their pickles would import, read from the opcodes; nothing is loaded."""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from .entries import FILE, PICKLED, Entry

MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
NUMPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
LEGACY = 5  # pickles in a file of `torch.save` before 1.6: number, protocol, system, content, keys
UNKNOWN = "unknown"
HARMLESS = re.compile(
    r"collections (OrderedDict|defaultdict|Counter)|_codecs encode|builtins (set|bytearray|complex|slice)"
    r"|__builtin__ (set|bytearray|complex|slice)|torch (\w+Storage|Size|Tensor|device|dtype)"
    r"|torch (b?float|int|uint|complex|q?u?int|bits)\w*|torch (bool|double|half|long|short|uint8)"
    r"|torch\._utils _rebuild_\w+|torch\._tensor _rebuild_from_type_v2|torch\.storage (Untyped|Typed)Storage"
    r"|torch\.nn\.parameter (Parameter|Buffer)|torch\.serialization _get_layout"
    r"|numpy dtype|numpy ndarray|numpy\.(_core|core)\.multiarray (_reconstruct|scalar)"
)
STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
PUTS, GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}


def audit_weights(name: str, content: bytes) -> Iterator[Entry]:
    """Yield the objects that a file of weights would import, and what in it cannot be read.

    Args:
        name: of the file.
        content: of the file.
    """
    start = content[:256].lstrip()
    is_graph = name.lower().endswith(".onnx") and not content.startswith((ZIP, NUMPY, *MAGIC))
    if is_graph or _is_safetensors(content):  # neither has code
        return
    if start[:1] == b"<" or start.startswith(b"version https://git-lfs"):
        yield Entry(name, "", FILE, name, ("a web page or a pointer, not weights",))
    elif content.startswith(ZIP):
        yield from _of_zip(name, content)
    elif content.startswith(NUMPY):
        yield from _of_numpy(name, "", content)
    else:
        yield from _of_pickles(name, "", content)


def _is_safetensors(content: bytes) -> bool:
    size = int.from_bytes(content[:8], "little")
    try:
        return 8 + size <= len(content) and isinstance(json.loads(content[8 : 8 + size]), dict)
    except ValueError:
        return False


def _of_zip(name: str, content: bytes) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
            twice = len(members) < len(archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        yield Entry(name, "", FILE, name, (f"cannot be read ({error})",))
        return
    if twice:
        yield Entry(name, "", FILE, name, ("two members have one name",))
    for member, data in members.items():
        path = PurePosixPath(member)
        if path.suffix == ".pkl" or data.startswith(MAGIC):
            yield from _of_pickles(name, member, data)
        elif data.startswith(NUMPY):
            yield from _of_numpy(name, member, data)
        elif path.suffix in (".py", ".so", ".zip") or "code" in path.parts[:-1]:
            yield Entry(name, member, FILE, member, ("code, as of TorchScript, which the audit does not read",))


def _of_numpy(name: str, place: str, content: bytes) -> Iterator[Entry]:
    if re.search(rb"'descr':[^}]*O", content[:4096]):
        yield Entry(name, place, FILE, place or name, ("an array of objects, which NumPy unpickles",))


def _of_pickles(name: str, place: str, content: bytes) -> Iterator[Entry]:
    stream = io.BytesIO(content)
    for number in range(LEGACY):
        try:
            found = pickled_names(stream)
        except Exception as error:  # pickletools and a damaged stack raise many kinds
            what = f"{'what follows a' if number else 'not weights, or a'} pickle that cannot be read to its end"
            yield Entry(name, place, FILE, place or name, (f"{what} ({error or type(error).__name__})",))
            return
        for full in sorted(found):
            problems = () if HARMLESS.fullmatch(full) else (f"{full.replace(' ', '.')}: not of tensors",)
            yield Entry(name, place, PICKLED, full.replace(" ", "."), problems)
        if stream.tell() == len(content):
            return


def pickled_names(stream: io.BytesIO) -> set[str]:
    """Return the objects that the next pickle would import, as "module name"; the stack is followed, nothing is run.

    Args:
        stream: at the pickle's start; left after its end.

    Raises:
        Exception: of any kind, when it is not a pickle.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    found: set[str] = set()
    for opcode, argument, _ in pickletools.genops(stream):
        code = opcode.name
        if code in ("GLOBAL", "INST"):
            found.add(str(argument))
        elif code == "STACK_GLOBAL":
            module, name = stack[-2:]
            known = isinstance(module, str) and isinstance(name, str)
            found.add(f"{module} {name}" if known else UNKNOWN)
        elif code in ("EXT1", "EXT2", "EXT4"):
            found.add(UNKNOWN)
        elif code in PUTS:
            memo[argument] = stack[-1]
        elif code == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        _move(stack, opcode, argument, memo)
    return found


def _move(stack: list[Any], opcode: Any, argument: Any, memo: dict[Any, Any]) -> None:
    """Do to the stack what an opcode does; of what it holds, only texts and marks are known."""
    if opcode.name == "MEMOIZE":  # what it takes is what it gives
        return
    taken, given = list(opcode.stack_before), list(opcode.stack_after)
    mark = pickletools.markobject
    if mark in taken or (opcode.name == "POP" and stack and stack[-1] is mark):
        while stack.pop() is not mark:
            pass
        taken = taken[: taken.index(mark)] if mark in taken else []
    if opcode.name in GETS:
        given = [memo[argument]]
    elif opcode.name == "DUP":
        given = [stack[-1]] * 2
    elif opcode.name in STRINGS:
        given = [argument]
    if taken:
        del stack[-len(taken) :]
    stack.extend(given)
