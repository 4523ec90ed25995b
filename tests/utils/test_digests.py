# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from universal_model_components.utils.digests import digest


def test_equal_content_has_an_equal_name():
    assert digest({"a": [1, 2.5], "b": None}) == digest({"b": None, "a": (1, 2.5)})
    assert digest([1, 2]) != digest([2, 1])
    assert len(digest(Path("a"))) == 16


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1})


def test_a_shorter_digest_is_the_beginning_of_the_longer():
    assert digest([1, 2], 8) == digest([1, 2])[:8]
