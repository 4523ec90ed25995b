# SPDX-License-Identifier: Apache-2.0
"""User errors in the tests: what a run in this process raises, by the one line that a command line would show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from universal_model_components.utils.errors import USER_ERRORS, user_error


@contextmanager
def raises_user_error(message: str) -> Iterator[None]:
    """Expect a user error, whatever MONAI's parser wraps it into; its one line matches a pattern."""
    with pytest.raises((RuntimeError, *USER_ERRORS)) as caught:
        yield
    line = user_error(caught.value)
    assert line is not None, f"no user error: {caught.value!r}"
    assert re.search(message, line), line
    assert "\n" not in line
