# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's server, on a machine without a GPU too: `python scripts/monai_label_server.py start_server --app …`.

The torchvision that comes with MONAI Label is a CUDA build. Beside a CPU-only PyTorch its operators cannot be loaded,
and its import fails on the first one it looks for; none is called for volumes, so a declaration is enough.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import torch


def declare_operators() -> torch.library.Library | None:
    """Declare the operators that torchvision's import asks for, where its own library does not load.

    Returns:
        What must be kept as long as they are wanted; None when nothing had to be declared.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    try:
        for library in folder.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        wanted = re.findall(r'register_fake\("torchvision::(\w+)"\)', (folder / "_meta_registrations.py").read_text())
        operators = torch.library.Library("torchvision", "DEF")
        for name in {"nms", *wanted}:
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return operators
    return None


if __name__ == "__main__":
    OPERATORS = declare_operators()
    from monailabel.main import Main

    sys.exit(Main().run())
