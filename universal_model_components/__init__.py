# SPDX-License-Identifier: Apache-2.0
"""Universal Model for 3D Medical Image Analysis, as components that MONAI bundles name in JSON.

A scan becomes cubes (`resampling`, `cubes`), cubes are corrupted on the device (`corruptions`, `random_corruptions`),
and one network (`unet`, `heads`, `models`) learns to restore them, to tell their scale and to hide their modality
(`losses`, `engines`, `handlers`). The configs in `bundles/` put these together; nothing happens at import.
"""

from __future__ import annotations

__version__ = "0.1.0"
