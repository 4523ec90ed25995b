# SPDX-License-Identifier: Apache-2.0
"""Expressions are parsed as MONAI would give them to Python."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from universal_model_components.auditing.configs import imported_names
from universal_model_components.auditing.expressions import (
    is_elsewhere,
    parse_import,
    problem_of_argument,
    problems_of_expression,
    problems_of_import,
    problems_of_text,
)

ALIASES = imported_names({})


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ["$import torch", {"torch": "torch"}],
        ["$import torch.distributed as dist", {"dist": "torch.distributed"}],
        ["$import os.path", {"os.path": "os.path"}],
        ["$from os import system as len", {"len": "os.system"}],
        ["$from . import a", {"a": "..a"}],
        ["$from os import *", {"*": "os.*"}],
        ["$torch.nn", None],
        ["$@a::b", None],
    ],
)
def test_imports(statement, names):
    assert parse_import(statement) == names


def test_imports_that_are_not_trusted():
    assert problems_of_import("$import torch") == []
    assert problems_of_import("$from os import system as len")[0].startswith("os.system: ")
    assert problems_of_import("$from os import *")[0].startswith("os.*: ")
    assert len(problems_of_import("$import torch, pickle, socket")) == 2


def test_references_are_replaced_as_monai_does():
    """What the auditor passes over as a reference is one for MONAI, too, with `#` for `::` and longer ids first."""
    config = {"a": 1, "a_b": {"c": [5, 6, 7]}, "x": "$(@a_b::c)[@a: : @a] + [@a_b#c#0]"}
    assert ConfigParser(config).get_parsed_content("x") == [6, 7, 5]
    assert problems_of_expression(config["x"], ALIASES) == []
    assert problems_of_expression("$__local_refs", ALIASES) == ["__local_refs: an unknown name"]


def test_every_name_of_an_expression_is_judged():
    text = "$[eval(x) if torch.save(a) else [os.b for os in {c: exec}] for x in (lambda y: y._z)(breakpoint)]"
    problems = " ".join(problems_of_expression(text, ALIASES))
    assert all(f"{name}:" in problems for name in ("eval", "torch.save", "a", "c", "exec", "_z", "breakpoint"))
    assert "x:" not in problems.replace("exec:", "")


@pytest.mark.parametrize(
    "text",
    [
        "fractions.operator.methodcaller('system', 'touch a')(x)",
        "fractions.operator.attrgetter('__globals__')(fractions.Fraction.limit_denominator)",
        "pathlib.io.open('r', 'w')",
        "pathlib.Path.open('r', 'w')",
        "statistics.random.seed(1)",
        "torch.distributed.launcher.api.elastic_launch(a, '/bin/sh')('-c', 'ls')",
        "torch.UntypedStorage.from_file('/a', True, 10)",
        "torch.utils.hipify.hipify_python.hipify('/a')",
        "torch.cuda.memory.CUDAPluggableAllocator('x.dat', 'a', 'b')",
        "monai.utils.save_obj(@x, '/a')",
        "monai.inferers.ZarrAvgMerger(store='/a')",
    ],
)
def test_what_reaches_a_shell_or_any_file_is_marked(text):
    modules = ("fractions", "pathlib", "statistics", "torch", "monai", "x", "a")
    aliases = {**ALIASES, **{name: frozenset([name]) for name in modules[:3]}}
    assert problems_of_expression(f"${text}", aliases)


@pytest.mark.parametrize(
    "text",
    [
        "fractions.Fraction(1, 3)",
        "statistics.mean([1, 2])",
        "math.pi",
        "pathlib.Path(@a).open('r')",
        "isinstance(@a, collections.abc.Mapping)",
        "re.sub('a', 'b', @c)",
    ],
)
def test_what_is_harmless_in_python_is_not(text):
    names = ("fractions", "pathlib", "statistics", "math", "re", "collections")
    assert problems_of_expression(f"${text}", {**ALIASES, **{name: frozenset([name]) for name in names}}) == []


def test_too_deep_is_an_entry_and_no_crash():
    for text in ("$" + "(" * 10_000 + ")" * 10_000, "$" + "-" * 100_000 + "1", "$" + "+".join(["1"] * 50_000)):
        assert problems_of_expression(text, ALIASES)[0].startswith("not an expression")


def test_texts():
    assert problems_of_text("a/b") == problems_of_text("see ../a for b") == problems_of_text("1..2") == []
    assert problems_of_text("a/../b") == ["a/../b: leaves its folder"]
    assert problems_of_text("..\\b") == ["..\\b: leaves its folder"]
    assert problems_of_text("S3://a/b")[0].startswith("S3://a/b: an address")
    assert [is_elsewhere(text) for text in ("/a", "~/a", "C:\\a", "a/b", "./a")] == [True] * 3 + [False] * 2


def test_arguments_that_decide_about_pickles():
    assert problem_of_argument("weights_only", True) is None
    assert problem_of_argument("weights_only", "true") == "weights_only: 'true' unpickles"
    assert problem_of_argument("allow_pickle", False) is None
    assert problem_of_argument("mmap", True) is None
