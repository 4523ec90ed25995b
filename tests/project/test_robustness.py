# SPDX-License-Identifier: Apache-2.0
"""Every kind of bad input is one line in every command that takes it, and `docs/robustness.md` lists it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from robustness import PAGE, TABLE, commands_of, named, said

CASES = [
    pytest.param(row, command, id=f"{row.group}: {row.kind}: {command}")
    for row in TABLE
    for command in commands_of(row)
]


@pytest.mark.parametrize(("row", "command"), CASES)
def test_bad_input_is_one_line_that_names_it(row, command, tmp_path):
    line = said(row, command, tmp_path)
    assert line is not None, "accepted"
    assert "\n" not in line
    assert re.search(row.says, line), line
    assert "bad." in line or tmp_path.name in line or re.match(r"[a-z_]+: ", line), line  # the file, or the argument


def test_the_page_and_the_table_agree():
    text = PAGE.read_text(encoding="utf-8")
    listed = [
        [group, *(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])]
        for group, part in re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
        for line in part.splitlines()[4:]
    ]
    assert len(TABLE) >= 60
    assert [row[:3] for row in listed] == [[row.group, row.kind, named(row)] for row in TABLE]
    for row, (*_, line) in zip(TABLE, listed, strict=True):
        assert re.search(row.says, line.replace("\\|", "|")), (row.kind, line)
        assert str(Path.home()) not in line
