# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from universal_model_components.utils.checks import (
    boolean,
    check_values,
    choice,
    device,
    each,
    either,
    entries,
    is_list,
    is_number,
    is_whole,
    number,
    one_or_each,
    optional,
    path,
    root,
    share,
    text,
    whole,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("check", "good", "bad", "problem"),
    [
        (boolean, [True, "false", 0], ["maybe", None, 2], "is not a boolean: give true or false"),
        (whole(1), [1, 2**62], [0, 1.0, True, "1", None, 2**63], "is not a whole number of at least 1"),
        (number(), [0, 0.5], [-1, NAN, INF, "1", True], "is not a number of at least 0"),
        (number(0, above=True), [0.1], [0], "is not a number above 0"),
        (share(), [0, 1, 0.5], [-0.1, 1.1, "half", NAN], "is not within 0 and 1"),
        (share(zero=False), [1], [0], "is not within 0 and 1, and above 0"),
        (share(one=False), [0], [1], "is not within 0 and 1, and less than 1"),
        (choice("a", "b"), ["a"], ["c", None, ["a"]], "is not one of ['a', 'b']"),
        (text, ["a"], ["", 1, None], "is not a text: write it in quotation marks"),
        (path, ["a", "./2024"], ["", None, "a\0b", ["a"]], "is not the path of a file or folder"),
        (path, [], [2024], "is a number to the command line: write ./2024"),
        (root, [20240101, "."], [1.5], "is a number to the command line: write ./1.5"),
        (device, ["cpu"], ["gpu", "cuda:99", "meta", 1.5, [0]], "is not a device of this machine: give cpu, cuda:0 or"),
        (optional(whole()), [None, "null", 3], [-1], "is not a whole number of at least 0"),
        (either(whole(), boolean), [3, "true"], [-1, "a"], "is not a whole number of at least 0"),
        (each(text, "names"), [["a", "a"]], [[], "a", [1]], "is not a list of names"),
        (each(text, "names", unique=True), [["a", "b"]], [["a", "a"]], "names one twice: name each once"),
        (
            one_or_each(whole()),
            [1, {"ct": 1}],
            [{"ct": 1, "mri": -1}],
            "is wrong: -1 is not a whole number of at least 0",
        ),
        (one_or_each(whole()), [], [{}], "is empty"),
        (entries({"a": whole(), "b": whole()}), [{"a": 1, "b": 0}], [{"a": 1}, 3], "is not a mapping with the entries"),
        (entries({"a": whole()}), [], [{"a": -1}], "is wrong: a is not a whole number of at least 0"),
        (entries({"a": whole()}, needed=False), [{}], [{"b": 1}], "is not a mapping with some of the entries ['a']"),
    ],
)
def test_checks_say_what_is_wrong(check, good, bad, problem):
    assert [check(value) for value in good] == [None] * len(good)
    for value in bad:
        assert str(check(value)).startswith(problem), value


def test_the_first_wrong_value_of_a_table_is_named():
    table = {"seed": whole(), "amp": boolean}
    check_values({"seed": 0, "unknown": object()}, table)
    with pytest.raises(ValueError, match=r"^amp: 'maybe' is not a boolean: give true or false$"):
        check_values({"seed": 3, "amp": "maybe"}, table)


def test_kinds_of_values():
    assert [is_number(value) for value in (1, 0.5, True, NAN, INF, "1")] == [True, True] + [False] * 4
    assert [is_whole(value) for value in (1, -1, 1.0, True, 2**64)] == [True, True] + [False] * 3
    assert [is_list(value) for value in ([], (1,), "a", {}, 3)] == [True, True] + [False] * 3
