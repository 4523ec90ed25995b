# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from universal_model_components.utils.settings import plain, to_bool, to_optional


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in (True, "true", "True", " TRUE ", 1, "1", "yes", "on")),
        *((value, False) for value in (False, "false", "False", "FALSE", 0, "0", "no", "off")),
    ],
)
def test_to_bool(value, expected):
    assert to_bool(value, "strict") is expected


@pytest.mark.parametrize("value", ["maybe", None, "", 2, [], "truee"])
def test_to_bool_names_the_key_and_the_value(value):
    with pytest.raises(ValueError, match=r"^resume: .* is not a boolean: give true or false$"):
        to_bool(value, "resume")


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), ("null", None), ("None", None), ("", None), ("a.csv", "a.csv"), (0, 0)]
)
def test_to_optional(value, expected):
    assert to_optional(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("True", True), ("no", False), (" null", None), ("range", "range"), ("1", "1"), (0, 0), ([0, 1], [0, 1])],
)
def test_plain_values(value, expected):
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
