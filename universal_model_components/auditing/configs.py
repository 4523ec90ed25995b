# SPDX-License-Identifier: Apache-2.0
"""The configs of a bundle: every `_target_`, expression, import, and path in them, in whatever file they may be merged.

MONAI merges files and overlays, reads keys with `::` as paths, and evaluates metadata too, so each file is read alone
and in whole; only what the imports of all files name is taken together.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml
from monai.transforms.io.array import SUPPORTED_READERS

from .entries import EXPRESSION, FILE, IMPORT, PATH, SETTING, TARGET, Entry
from .expressions import (
    UNPARSABLE,
    WEIGHTS,
    Aliases,
    is_elsewhere,
    parse_import,
    problem_of_argument,
    problems_of_expression,
    problems_of_import,
    problems_of_text,
)
from .names import BUILTINS, GLOBALS, TRUSTED, full_names, is_safe_load, problem_of_builtin, problem_of_name

BY_NAME = ("reader", "writer")  # which MONAI's LoadImage and SaveImage import by name
METADATA = "metadata.json"
WEIGHT_KEYS = re.compile(r"ckpt|checkpoint|weights|load_path|load_dir|model_file|onnx_file", re.IGNORECASE)
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
SEPARATOR = re.compile(r"::|#")

Place = tuple[str, ...]


def read_config(name: str, content: bytes) -> Any:
    """Parse a JSON or YAML file.

    Raises:
        ValueError: when it cannot be parsed, or names a key twice: readers differ in which one counts.
    """
    text = content.decode("utf-8")
    if name.lower().endswith(".json"):
        return json.loads(text, object_pairs_hook=_unique)
    try:
        return yaml.load(text, _UniqueKeys)  # a safe loader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the key {twice!r} is there twice")
    return dict(pairs)


class _UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _unique([(self.construct_object(key, deep=True), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


def imported_names(configs: Mapping[str, Any]) -> Aliases:
    """Return what each imported name may stand for, in all configs together, MONAI's own names included."""
    found: dict[str, set[str]] = defaultdict(set)
    for alias, module in GLOBALS.items():
        found[alias].add(module)
    for content in configs.values():
        for _, value, _ in walk(content):
            try:
                statement = parse_import(value) if isinstance(value, str) and value.startswith("$") else None
            except UNPARSABLE:  # marked where it is listed
                continue
            for alias, module in (statement or {}).items():
                found[alias].add(module)
    return {alias: frozenset(modules) for alias, modules in found.items()}


def walk(content: Any, place: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """Yield every value in a config, with its keys from the top and the mapping or list that it is in."""
    if isinstance(content, Mapping):
        items: Any = content.items()
    else:
        items = enumerate(content) if isinstance(content, (list, tuple, set)) else ()
    for key, value in items:
        yield (*place, str(key)), value, content
        yield from walk(value, (*place, str(key)))


def audit_config(name: str, content: Any, aliases: Aliases, files: Collection[str]) -> Iterator[Entry]:
    """Yield what a config runs, imports or loads.

    Args:
        name: of the file.
        content: of `read_config`.
        aliases: of `imported_names`.
        files: names of all files of the bundle.
    """
    for place, value, around in walk(content):
        last, where = SEPARATOR.split(place[-1])[-1].lstrip("+~"), "::".join(place)
        if last == "_target_":
            yield Entry(name, where, TARGET, str(value), tuple(_problems_of_target(value, around)))
        elif last in BY_NAME and isinstance(value, str) and not value.startswith(("$", "@", "%")):
            known = value.lower() in SUPPORTED_READERS
            yield Entry(name, where, TARGET, value, () if known else tuple(_problems_of_target(value, {})))
        elif last == "_mode_" and value not in ("default", "callable"):
            yield Entry(name, where, SETTING, str(value), (f"_mode_ {value!r}: stops in the debugger",))
        elif problem := problem_of_argument(last, value):
            yield Entry(name, where, SETTING, str(value), (problem,))
        elif isinstance(value, str):
            yield from _of_text(name, place, last, value, aliases, files)


def _problems_of_target(target: Any, siblings: Mapping[str, Any]) -> list[str]:
    """Return why a `_target_` is marked: a full name, or one that MONAI looks up, must be trusted."""
    if not isinstance(target, str) or not DOTTED.fullmatch(target):
        return ["computed when it is run: give a name"]
    if "." in target:
        names = [target]
    else:
        builtin, names = problem_of_builtin(target), list(full_names(target))
        if builtin is not None and not names:
            return [builtin]
        if not names:
            return [] if target in BUILTINS else [f"{target}: not of {TRUSTED}"]
    return [problem for full in names if not is_safe_load(full, siblings) and (problem := problem_of_name(full))]


def _of_text(
    name: str, place: Place, last: str, value: str, aliases: Aliases, files: Collection[str]
) -> Iterator[Entry]:
    where = "::".join(place)
    if value.startswith("$"):
        try:
            is_import = parse_import(value) is not None
        except UNPARSABLE:
            yield Entry(name, where, EXPRESSION, value, ("cannot be parsed",))
            return
        problems = problems_of_import(value) if is_import else problems_of_expression(value, aliases)
        problems += _problems_of_place(place, value)
        yield Entry(name, where, IMPORT if is_import else EXPRESSION, value, tuple(problems))
        return
    *folders, file = name.split("/")
    is_text = file == METADATA or "configs" not in folders  # an address in it is a source or a license
    problems = [] if is_text else problems_of_text(value)
    if is_elsewhere(value) and (value.lower().endswith(WEIGHTS) or WEIGHT_KEYS.search(last)):
        problems.append(f"{value}: outside the bundle")
    if value.startswith("%") and not _is_inside(value[1:], files):
        problems.append(f"{value}: a config outside the bundle")
    if problems:
        yield Entry(name, where, PATH, value, tuple(problems))


def _problems_of_place(place: Place, value: str) -> list[str]:
    """Mark a relative reference below a key that is not a plain name: MONAI pastes the key into the expression."""
    keys = [key for part in place for key in SEPARATOR.split(part)]
    strange = next((key for key in keys if not re.fullmatch(r"\w+", key)), None)
    if strange is None or not re.search(r"@(::|#)", value):
        return []
    return [f"relative reference below the key {strange!r}"]


def _is_inside(macro: str, files: Collection[str]) -> bool:
    """Return whether `%…` names an item of the same config, or a config of the bundle."""
    file = re.match(r".*\.(json|yaml|yml)", macro, re.IGNORECASE)
    return file is None or any(name == file[0] or name.endswith(f"/{file[0]}") for name in files)


def unreadable(name: str, error: Exception) -> Entry:
    """Return the entry of a file that cannot be parsed."""
    return Entry(name, "", FILE, name, (f"cannot be read ({error})",))
