# SPDX-License-Identifier: Apache-2.0
"""The command line: parsed to its end before anything runs."""

from __future__ import annotations

import pytest

from universal_model_components.__main__ import Call, later, run


def test_a_command_is_parsed_first_and_run_later():
    seen = []

    def command(name: str, count: int = 1) -> None:
        """Do it."""
        seen.append((name, count))

    parsed = later({"group": {"command": command}})["group"]["command"]
    assert parsed.__doc__ == "Do it."
    call = parsed("a", count=2)
    assert isinstance(call, Call)
    assert seen == []
    assert run(call) is None
    assert seen == [("a", 2)]
    assert run({"group": 1}) == {"group": 1}  # left to python-fire, which shows it
    with pytest.raises(TypeError):
        run(parsed())
