# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from universal_model_components.figures.numbers import format_number, read_number


@pytest.mark.parametrize(("numbers", "expected"), [({"a": 2}, 2.0), ({"a": 0.5}, 0.5), ({"a": None}, None), ({}, None)])
def test_a_missing_number_is_nan(numbers, expected):
    value = read_number(numbers, "a")
    assert math.isnan(value) if expected is None else value == expected


def test_a_number_has_its_decimals_and_nan_is_a_dash():
    assert [format_number(0.12345), format_number(12.34, 1), format_number(math.nan)] == ["0.1235", "12.3", "–"]
