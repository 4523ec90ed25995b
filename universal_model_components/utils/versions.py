# SPDX-License-Identifier: Apache-2.0
"""Versions of the packages that measured results depend on, for reports."""

from __future__ import annotations

import importlib.metadata


def versions() -> dict[str, str]:
    """Return the versions of the packages that measured results depend on."""
    names = ("universal-model-components", "torch", "monai", "numpy", "scipy", "scikit-learn")
    return {name: importlib.metadata.version(name) for name in names}
