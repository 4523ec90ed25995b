# SPDX-License-Identifier: Apache-2.0
"""The environments of the tools that the bundles must work in: one virtual environment each, pinned in this folder.

`python tests/integration/environments.py label` makes one (and prints its interpreter); the checks make theirs when it
is missing. An environment that cannot be made here is a skip that names the tool and says why.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("UNIVERSAL_MODEL_ENVIRONMENTS", REPOSITORY / ".environments"))
TOOLS = ("label", "deploy", "fl", "zoo")
PLAIN = ("zoo",)  # these check files only and do without this package
BUILD = {"SAM2_BUILD_CUDA": "0"}  # MONAI Label brings SAM 2, whose CUDA extension cannot be built without a compiler


class NotInstallable(RuntimeError):
    """An environment cannot be made on this machine; the message is one line."""


def interpreter(tool: str) -> Path:
    """Return the Python of a tool's environment, made first where it is missing or its pins have changed.

    Raises:
        NotInstallable: when pip cannot install it here.
    """
    pins = Path(__file__).with_name(f"requirements-{tool}.txt")
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    place, mark = FOLDER / tool, FOLDER / tool / ".installed"
    python = place / "bin" / "python"
    if mark.is_file() and mark.read_text() == digest:
        return python
    steps = [[sys.executable, "-m", "venv", str(place)], [str(python), "-m", "pip", "install", "-q", "-r", str(pins)]]
    if tool not in PLAIN:
        steps.append([*steps[1], str(REPOSITORY)])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, env=os.environ | BUILD)
        if done.returncode:
            reason = (done.stderr.strip() or "no message").splitlines()[-1][:200]
            raise NotInstallable(f"{tool}: {' '.join(step[1:5])} … failed: {reason}")
    mark.write_text(digest)
    return python


def environment() -> dict[str, str]:
    """Return the variables that a tool's processes run with: this checkout's package comes first.

    What `PYTHONPATH` has already comes after it, so that another MONAI can be put in the place of the pinned one.
    """
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


if __name__ == "__main__":
    try:
        print(*(interpreter(tool) for tool in sys.argv[1:] or TOOLS), sep="\n")
    except NotInstallable as error:
        sys.exit(str(error))
