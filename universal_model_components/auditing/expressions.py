# SPDX-License-Identifier: Apache-2.0
"""A config's Python expressions and import statements, parsed and never evaluated.

References are replaced in the text exactly as MONAI replaces them, so that what is read here is what it would run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import PurePath

from monai.bundle import ReferenceResolver

from .names import BUILTINS, is_module, is_safe_load, problem_of_attribute, problem_of_builtin, problem_of_name

REFERENCES = ReferenceResolver._vars
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
READ_MODES = frozenset(("r", "rb", "rt"))
WEIGHTS = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".ts", ".safetensors", ".onnx", ".npy", ".npz")

UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
SAFE_ARGUMENTS = {"weights_only": True, "allow_pickle": False, "trust_repo": False}

Aliases = Mapping[str, frozenset[str]]


def parse_import(expression: str) -> dict[str, str] | None:
    """Return what a statement imports, by the names that it gives; None for an expression.

    Raises:
        SyntaxError: when it cannot be parsed.
    """
    body = ast.parse(_python_of(expression)).body
    if not body or not isinstance(body[0], (ast.Import, ast.ImportFrom)):
        return None
    if len(body) > 1:
        raise SyntaxError("more than one statement")
    statement = body[0]
    if isinstance(statement, ast.Import):  # without `as`, the expressions get the module that is named last
        return {name.asname or name.name: name.name for name in statement.names}
    module = "." * statement.level + (statement.module or "")
    return {name.asname or name.name: f"{module}.{name.name}" for name in statement.names}


def problems_of_import(expression: str) -> list[str]:
    """Return why an import statement is marked; nothing where all that it imports is trusted."""
    found = map(problem_of_name, (parse_import(expression) or {}).values())
    return [problem for problem in found if problem is not None]


def problems_of_expression(expression: str, aliases: Aliases) -> list[str]:
    """Return why an expression is marked; nothing where every name in it is trusted.

    Args:
        expression: with its `$`.
        aliases: what each name that the configs import may stand for.
    """
    try:
        tree = ast.parse(_python_of(expression), mode="eval")
        reader = _Reader(aliases, _bound_names(tree))
        reader.visit(tree)
    except UNPARSABLE as error:
        return [f"not an expression ({error.args[0] if error.args else type(error).__name__})"]
    return list(dict.fromkeys(reader.problems))


def _python_of(expression: str) -> str:
    """Return what MONAI gives to Python: references become look-ups, longer ones first."""
    text = ReferenceResolver.normalize_id(expression)
    for found in sorted(ReferenceResolver.id_matcher.findall(text), key=len, reverse=True):
        text = text.replace(found, f"{REFERENCES}['{found[1:]}']")
    return text.removeprefix("$")


def problems_of_text(text: str) -> list[str]:
    """Return why a string that may be a path or an address is marked."""
    if ADDRESS.match(text):
        return [f"{text}: an address, from which or to which data may go"]
    if text.split() == [text] and ".." in PurePath(text.replace("\\", "/")).parts:
        return [f"{text}: leaves its folder"]
    return []


def is_elsewhere(text: str) -> bool:
    """Return whether a path begins at the root of a file system, or at a home folder."""
    return text.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:[\\/]", text) is not None


def _bound_names(tree: ast.AST) -> set[str]:
    """Return the names that comprehensions, lambdas and `:=` bind."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _chain(node: ast.AST) -> list[str]:
    """Return the names of `a.b.c`; nothing where it does not begin with a name."""
    if isinstance(node, ast.Attribute):
        before = _chain(node.value)
        return [*before, node.attr] if before else []
    return [node.id] if isinstance(node, ast.Name) else []


class _Reader(ast.NodeVisitor):
    """Collects the problems of an expression."""

    def __init__(self, aliases: Aliases, bound: set[str]) -> None:
        self.aliases, self.bound = aliases, bound
        self.problems: list[str] = []
        self.appended: set[ast.AST] = set()  # strings that continue another, as in `@bundle_root + '/models'`

    def _note(self, problem: str | None) -> None:
        if problem is not None:
            self.problems.append(problem)

    def _full_names(self, node: ast.AST) -> list[str]:
        """Return what a dotted name may stand for; the longest alias counts (`import os.path` names `os.path`)."""
        parts = _chain(node)
        for length in range(len(parts), 0, -1):
            known = self.aliases.get(".".join(parts[:length]))
            if known:
                return [".".join([full, *parts[length:]]) for full in sorted(known)]
        return []

    def _note_names(self, full: list[str]) -> None:
        for name in full:
            self._note(problem_of_name(name) or (f"{name}: a whole module" if is_module(name) else None))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Judge `a.b.c` as one name where `a` is imported, each attribute on its own otherwise."""
        full = self._full_names(node)
        self._note_names(full)
        if not full:
            self._note(problem_of_attribute(node.attr))
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        """Judge an imported, built-in, bound or unknown name."""
        full, builtin = self._full_names(node), problem_of_builtin(node.id)
        self._note_names(full)
        self._note(builtin)
        harmless = node.id in self.bound and (node.id == "_" or not node.id.startswith("_"))
        if not (full or builtin or harmless or node.id in BUILTINS):
            self._note(f"{node.id}: an unknown name")

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Pass over a reference."""
        is_reference = isinstance(node.value, ast.Name) and node.value.id == REFERENCES
        if not (is_reference and isinstance(node.slice, ast.Constant)):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Judge a string that may be a path or an address."""
        if isinstance(node.value, str):
            self.problems += problems_of_text(node.value)
            if node not in self.appended and is_elsewhere(node.value) and node.value.lower().endswith(WEIGHTS):
                self._note(f"{node.value}: outside the bundle")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Judge both sides; the right one of a sum continues the left one."""
        if isinstance(node.op, ast.Add):
            self.appended.add(node.right)
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Judge the parts of an f-string; all but the first continue another."""
        self.appended.update(node.values[1:])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Judge what is called and what it is given; some functions are harmless with some arguments only."""
        if _sets_a_backend(node, self._full_names(node.args[0]) if node.args else []):
            return
        given = {keyword.arg or "**": _constant(keyword.value) for keyword in node.keywords}
        for name, value in given.items():
            self._note(problem_of_argument(name, value))
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        harmless = [is_safe_load(full, given) and "**" not in given for full in self._full_names(node.func)]
        if name == "type" and len(node.args) != 1:
            self._note("type: makes a class")
        if name == "open":
            self._open(node, given)
        elif not (harmless and all(harmless)):
            self.visit(node.func)
        for child in [*node.args, *node.keywords]:
            self.visit(child)

    def _open(self, node: ast.Call, given: Mapping[str, object]) -> None:
        """Check that a file is opened to read it; of a path's own `open`, the mode is the first argument."""
        place = 1 if isinstance(node.func, ast.Name) or self._full_names(node.func) else 0
        mode = _constant(node.args[place]) if len(node.args) > place else given.get("mode", "r")
        if mode not in READ_MODES or "**" in given:
            self._note("open: not only to read")
        if isinstance(node.func, ast.Attribute):
            self.visit(node.func)


def problem_of_argument(name: str, value: object) -> str | None:
    """Return why an argument is marked that decides whether files are unpickled; None where it is safe, or another."""
    return f"{name}: {value!r} unpickles" if name in SAFE_ARGUMENTS and value is not SAFE_ARGUMENTS[name] else None


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else "an expression"


def _sets_a_backend(node: ast.Call, first: list[str]) -> bool:
    """Return whether this is `setattr(torch.backends.…, "name", constant)`, a setting of PyTorch."""
    is_setattr = isinstance(node.func, ast.Name) and node.func.id == "setattr" and len(node.args) == 3
    if not is_setattr or node.keywords or len(first) != 1 or not first[0].startswith("torch.backends."):
        return False
    name = _constant(node.args[1])
    return (
        isinstance(name, str)
        and name.isidentifier()
        and problem_of_attribute(name) is None
        and isinstance(node.args[2], ast.Constant)
    )
