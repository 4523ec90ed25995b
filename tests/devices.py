# SPDX-License-Identifier: Apache-2.0
"""The device that the bundles' tests compute on: the CPU, or what the variable UNIVERSAL_MODEL_DEVICE names.

`other:0` is a device that any machine has: the CPU's kernels, but tensors on it cannot be mixed with those on the CPU,
as on a GPU. Code that forgets to move one fails there too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import sysconfig
import types
from pathlib import Path

import torch
from torch.torch_version import TorchVersion

OLDEST = TorchVersion("2.13")  # whose interfaces `device.cpp` was written for
DEVICE = os.environ.get("UNIVERSAL_MODEL_DEVICE", "cpu")


def can_compile() -> bool:
    """Whether there is what an extension of this PyTorch needs: Python's headers, a compiler, and ninja."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    tools = [shutil.which(os.environ.get("CXX", "c++")), importlib.util.find_spec("ninja") or shutil.which("ninja")]
    return headers.is_file() and all(tools) and torch.__version__ >= OLDEST


def add_other_device() -> None:
    """Compile the device (half a minute), or take what was compiled before, and make it known to PyTorch."""
    from torch.utils.cpp_extension import load

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where ninja is
    module = types.ModuleType("torch.other")
    functions = {"is_available": True, "device_count": 1, "current_device": 0, "_is_in_bad_fork": False}
    for name, answer in functions.items():
        setattr(module, name, lambda *_, answer=answer: answer)
    module.manual_seed_all = lambda seed: None
    module.device = contextlib.nullcontext
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    torch.utils.rename_privateuse1_backend("other")
    torch._register_device_module("other", module)
    here = Path(__file__).parent
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(here.parent / "build" / "extensions"))
    source = here / "other_device" / "device.cpp"
    load("other_device", [str(source)], extra_cflags=["-O1"])
    torch.utils.generate_methods_for_privateuse1_backend()


if DEVICE.startswith("other"):
    add_other_device()
