# SPDX-License-Identifier: Apache-2.0
"""Bundles on a device whose tensors cannot be mixed with the CPU's: what a GPU would refuse fails here too.

Tests of other files run once more, each file in a process of its own, as the device changes all of PyTorch.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from devices import DEVICE, can_compile

FILES = {
    "bundles/test_segmentation_masks.py": "",
    "bundles/test_segmentation_training.py": "learns",
    "bundles/test_classification_training.py": "learns or last_model",
    "bundles/test_classification_inference.py": "row or submission or subjects",
    "evaluation/test_restoration.py": "report",
    "commands/test_features.py": "",
}


@pytest.mark.skipif(DEVICE != "cpu", reason="the tests run on another device already")
@pytest.mark.skipif(not can_compile(), reason="no compiler, or no headers of Python")
@pytest.mark.parametrize("file", FILES)
def test_no_tensor_is_left_behind_on_the_cpu(file):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{file}"]
    command += ["-k", FILES[file]] if FILES[file] else []
    environment = {**os.environ, "UNIVERSAL_MODEL_DEVICE": "other:0", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
