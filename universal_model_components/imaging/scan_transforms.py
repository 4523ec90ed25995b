# SPDX-License-Identifier: Apache-2.0
"""MONAI dictionary transforms from a scan's file to a normalized volume, and from that grid back to the file's own.

They touch no keys but those they are given. What the way back needs (the file's grid and intensity window) travels in
the volume's own metadata.
"""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)
