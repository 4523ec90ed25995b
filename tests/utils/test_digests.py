# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from universal_model_components.utils.digests import digest


def test_equal_content_has_an_equal_name():
    assert digest({"a": [1, 2.5], "b": None}) == digest({"b": None, "a": (1, 2.5)})
    assert digest([1, 2]) != digest([2, 1])
    assert len(digest(Path("a"))) == 16
