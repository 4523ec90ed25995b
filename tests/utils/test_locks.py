# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

from universal_model_components.utils.locks import locked


def test_a_lock_is_held_once_and_released_at_the_end(tmp_path):
    file = tmp_path / "new" / "lock"
    with locked(file) as first, locked(file) as second:
        assert first is not None
        assert os.fstat(first).st_ino == file.stat().st_ino
        assert second is None
    with locked(file) as again:
        assert again is not None
