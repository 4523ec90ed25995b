# SPDX-License-Identifier: Apache-2.0
"""Modules and functions of the package stay small enough to be read at once (CONTRIBUTING, "Packages")."""

from __future__ import annotations

import ast

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "universal_model_components"
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES, FUNCTION_LINES = 250, 40


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of lines from `def` to the end, without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - (docstring.end_lineno - docstring.lineno + 1)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ["def f(): ...", 1],
        ["def f():\n    '''One line.'''\n    return 1", 2],
        ["def f(\n    a,\n):\n    '''Two\n\n    paragraphs.'''\n\n    # why\n    return a", 6],
    ],
)
def test_docstrings_do_not_count(source, expected):
    assert lines_of(ast.parse(source).body[0]) == expected


def test_no_module_is_too_long():
    sizes = {str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
    assert len(sizes) > 100
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES} == {}


def test_no_function_is_too_long():
    sizes = {
        f"{file.relative_to(PACKAGE)}: {node.name}": lines_of(node)
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(sizes) > 500
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES} == {}
