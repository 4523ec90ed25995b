# SPDX-License-Identifier: Apache-2.0
"""`python -m universal_model_components COMMAND`; `--help` after a command lists its options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fire

from .commands.audit import audit
from .commands.datalist import DATALIST
from .commands.demo import demo
from .commands.doctor import doctor
from .commands.experiment import EXPERIMENT_COMMANDS
from .commands.features import features
from .commands.weights import WEIGHTS
from .utils.errors import show_user_errors

NAME = "universal_model_components"
COMMANDS = {
    "audit": audit,
    "datalist": DATALIST,
    "demo": demo,
    "doctor": doctor,
    "experiment": EXPERIMENT_COMMANDS,
    "features": features,
    "weights": WEIGHTS,
}


@dataclass(frozen=True)
class Call:
    """A command with its arguments, not started yet."""

    run: functools.partial


def later(commands: Any) -> Any:
    """Make a command return its `Call`: python-fire would run it first and find a misspelled option afterward.

    Args:
        commands: a function, or a mapping of them, at any depth.
    """
    if isinstance(commands, Mapping):
        return {name: later(command) for name, command in commands.items()}
    command: Callable = commands

    @functools.wraps(command)
    def parse(*arguments: Any, **options: Any) -> Call:
        return Call(functools.partial(command, *arguments, **options))

    return parse


def run(result: Any) -> Any:
    """Run the parsed command; anything else (a group of commands) is left to fire to show."""
    if not isinstance(result, Call):
        return result
    result.run()
    return None


def main() -> None:
    """Run a command; a user error ends in one line and a non-zero exit code."""
    show_user_errors(NAME)
    fire.Fire(later(COMMANDS), name=NAME, serialize=run)


if __name__ == "__main__":
    main()
