# SPDX-License-Identifier: Apache-2.0
"""What an SVG chart says."""

from __future__ import annotations

from xml.etree import ElementTree


def texts(svg: str) -> str:
    """All text in a drawing."""
    return " ".join("".join(element.itertext()) for element in ElementTree.fromstring(svg).iter())
