# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from svg import texts

from universal_model_components.figures.bars import draw_errors


def test_error_bars_name_kinds_and_series() -> None:
    words = texts(
        draw_errors({"Inner": {"corrupted_mse": 0.2, "constant_mse": 0.1, "restored_mse": 0.05}, "Outer": {}})
    )
    for expected in ("Inner", "Outer", "corrupted input", "training mean", "oracle constant", "restored"):
        assert expected in words
