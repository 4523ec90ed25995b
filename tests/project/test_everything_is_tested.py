# SPDX-License-Identifier: Apache-2.0
"""Every public function and class of the package is named by a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from conftest import REPOSITORY

PACKAGE = REPOSITORY / "universal_model_components"


def public_names(file: Path) -> Iterator[str]:
    """Functions and classes that a module defines at its top level, without those that begin with an underscore."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def test_every_public_function_and_class_is_named_by_a_test():
    texts = (file.read_text(encoding="utf-8") for file in (REPOSITORY / "tests").rglob("*.py"))
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    missing = [
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for name in public_names(file)
        if name not in words
    ]
    assert not missing
