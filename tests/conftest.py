# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every test module shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def generator() -> torch.Generator:
    """The one seeded source of chance in the tests."""
    return torch.Generator().manual_seed(20201)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans; tests that need it are skipped, with the reason, where it is missing."""
    folder = Path(os.environ.get("UNIVERSAL_MODEL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real scans not found at {folder} (set UNIVERSAL_MODEL_DATA to their folder)")
    return folder


@pytest.fixture(scope="session")
def bundles() -> Path:
    """Folder of the committed bundles."""
    return REPOSITORY / "bundles"
