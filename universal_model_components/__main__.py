# SPDX-License-Identifier: Apache-2.0
"""`python -m universal_model_components COMMAND`; `--help` after a command says what it takes."""

from __future__ import annotations

import sys

import fire

from .demo import demo
from .doctor import doctor

COMMANDS = {"demo": demo, "doctor": doctor}


def main() -> None:
    """Run a command; a mistake in its input ends in one line and a non-zero exit code."""
    try:
        fire.Fire(COMMANDS, name="universal_model_components")
    except (ValueError, OSError) as error:
        sys.exit(f"universal_model_components: {error}")


if __name__ == "__main__":
    main()
