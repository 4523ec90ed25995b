# SPDX-License-Identifier: Apache-2.0
"""The command line of `python -m monai.bundle run`: MONAI adds a misspelled key to the config, where nothing reads it.

`initialize` of every config checks the keys of its own command line. Servers, federated clients and notebooks make
workflows without one: their keys are not checked.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ConfigWorkflow, run, run_workflow
from monai.bundle.reference_resolver import ReferenceResolver
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

COMMANDS: dict[str, Callable[..., Any]] = {"run": run, "run_workflow": run_workflow}  # those that call `initialize`
PROGRAM = "monai.bundle.__main__"


def check_command_line(arguments: Sequence[str] | None = None) -> None:
    """Refuse keys that the config files do not have.

    A nested key may also be an argument that its component takes, or a new entry of a mapping that is used as a whole.

    Args:
        arguments: what follows `python -m monai.bundle`; None is those of this process, if it was started so.

    Raises:
        ValueError: for all unknown keys, each with the nearest known one, or for a folder whose name python-fire has
            read as another number; one line.
    """
    given = _own_arguments() if arguments is None else arguments
    if not given or given[0] not in COMMANDS:
        return
    texts = _parse(COMMANDS[given[0]], given[1:])
    values = {key: _value(text) for key, text in texts.items()}
    values = {**_content(values.get("args_file")), **values}
    names = {*inspect.signature(run).parameters, *inspect.signature(ConfigWorkflow).parameters, "workflow_name"}
    names |= _tracking_keys(values.get("tracking"))
    check_keys(values["config_file"], values, names, "--")
    _check_folders(texts)


def check_keys(
    config_files: str | Sequence[str], settings: Mapping[str, Any], others: Collection[str] = (), mark: str = ""
) -> None:
    """Refuse settings whose keys config files do not have.

    Args:
        config_files: of MONAI, one or several.
        settings: by key.
        others: keys that are known beside.
        mark: what a key begins with in the message.

    Raises:
        ValueError: for all unknown keys, each with the nearest known one; one line.
    """
    parser = ConfigParser()
    parser.read_config(config_files)
    wrong = []
    # another _target_ first: the other keys may be its arguments
    for key, value in sorted(settings.items(), key=lambda item: not item[0].endswith("_target_")):
        if key in others or key.startswith(ConfigParser.meta_key):
            continue
        if _is_known(parser, key, settings):
            parser[key] = value
        else:
            wrong.append(f"{mark}{key}{_advice(parser, key, set(others), mark)}")
    if wrong:
        raise ValueError(f"unknown settings: {', '.join(wrong)}: correct them, or leave them out")


def _own_arguments() -> list[str]:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return sys.argv[1:] if spec is not None and spec.name == PROGRAM else []


def _parse(command: Callable[..., Any], arguments: Sequence[str]) -> dict[str, str]:
    """Return the text of each argument, as python-fire assigns them to the parameters of a command."""
    import fire  # only the command line needs it

    given: dict[str, str] = {}

    @fire.decorators.SetParseFn(str)
    @functools.wraps(command)
    def keep(*positional: str, **named: str) -> None:
        bound = inspect.signature(command).bind_partial(*positional).arguments
        given.update({key: text for key, text in {**bound, **named}.items() if text is not None})

    fire.Fire(keep, command=list(arguments))
    return given


def _value(text: str) -> Any:
    from fire.parser import DefaultParseValue

    return DefaultParseValue(text)


def _content(file: Any) -> dict[str, Any]:
    """Return the content of a file of arguments, or of the mapping itself, as `monai.bundle.run` takes either."""
    return dict(file) if isinstance(file, Mapping) else ConfigParser.load_config_file(file)


def _tracking_keys(tracking: Any) -> set[str]:
    """Return the keys that MONAI's experiment tracking adds to a config."""
    if tracking is None:
        return set()
    known: Any = DEFAULT_EXP_MGMT_SETTINGS.get(tracking) if isinstance(tracking, str) else None
    return {"save_execute_config", *(known or ConfigParser.load_config_files(tracking))["configs"]}


def _is_known(parser: ConfigParser, key: str, values: Mapping[str, Any]) -> bool:
    if key in parser:
        return True
    if key.startswith("+"):  # of what is there; MONAI would make a new key of another one
        return _is_known(parser, key[1:], values)
    parent, name = ReferenceResolver.split_id(key, last=True)
    used = _references(parser, values)
    if not parent:
        return key in used
    place = parser.get(parent)
    if not isinstance(place, Mapping):
        return False
    parts = ReferenceResolver.split_id(parent)
    if ConfigComponent.is_instantiable(place):
        accepted = _arguments(place)
        return name.startswith("_") or accepted is None or name in accepted
    return any("::".join(parts[:depth]) in used for depth in range(1, len(parts) + 1))


def _references(parser: ConfigParser, values: Mapping[str, Any]) -> set[str]:
    """Return the ids that the config or a value refers to, and those of the config's components and expressions."""
    find = ReferenceResolver.find_refs_in_config
    return {*find(parser.config, ""), *find(list(values.values()), "")}


def _arguments(component: Mapping[str, Any]) -> set[str] | None:
    """Return the names of the arguments that a component takes; None where that cannot be told."""
    target = component["_target_"]
    if isinstance(target, str):
        named = ConfigComponent(config=dict(component), locator=ComponentLocator()).resolve_module_name()
        target = locate(str(named))
    if not callable(target):
        return None
    names: set[str] = set()
    for layer in inspect.getmro(target)[:-1] if inspect.isclass(target) else [target]:
        try:
            parameters = inspect.signature(layer).parameters
        except ValueError:  # of a builtin
            return None
        names |= set(parameters)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            return names
    return None


def _ids(config: Any, before: str = "") -> Iterator[str]:
    for name, value in config.items() if isinstance(config, Mapping) else ():
        yield f"{before}{name}"
        yield from _ids(value, f"{before}{name}::")


def _advice(parser: ConfigParser, key: str, names: set[str], mark: str) -> str:
    """Return the nearest known key, in brackets; nothing where none is near."""
    parent, _, name = key.rpartition("::")
    place: Any = parser.get(parent or "")
    beside = {*place} if isinstance(place, Mapping) else set()
    if ConfigComponent.is_instantiable(place):
        beside |= _arguments(place) or set()
    known = [f"{parent}::{one}" for one in beside] if parent else [*beside, *names]
    near = get_close_matches(key, known, 1) or [one for one in _ids(parser.config) if one.endswith(f"::{name}")]
    return f" (did you mean {mark}{near[0]}?)" if near else ""


def _check_folders(texts: Mapping[str, str]) -> None:
    """Refuse a folder whose name python-fire reads as a number that is written otherwise."""
    for key, text in texts.items():
        value = _value(text)
        if re.search(r"(_dir|_root|_store)$", key) and isinstance(value, (int, float)) and str(value) != text:
            raise ValueError(f"{key}: the command line reads {text} as the number {value}: write ./{text}")
