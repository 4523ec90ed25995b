# SPDX-License-Identifier: Apache-2.0
"""The released weights' pre-training, begun anew: its first steps have the losses committed with the weights."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED = REPOSITORY / "docs" / "evidence" / "weights" / "first_steps.csv"
DATA = os.environ.get("UNIVERSAL_MODEL_DATA")
STEPS = 20
MINUTES = 20
ROUNDING = 0.01  # of bfloat16 sums on another processor; the same one gives the same losses


@pytest.mark.skipif(not DATA, reason="$UNIVERSAL_MODEL_DATA is not set: no scans to pre-train on")
def test_the_first_steps_have_the_committed_losses(tmp_path):
    command = [sys.executable, "-m", "universal_model_components", "experiment", "run", "released", "--data", str(DATA)]
    command += ["--output", str(tmp_path), "--only", "kind=pretraining,system=universal"]
    with subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        try:
            losses = wait_for_losses(process, tmp_path)
        finally:
            process.send_signal(signal.SIGTERM)
    with COMMITTED.open(encoding="utf-8") as stream:
        expected = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses == pytest.approx(expected[:STEPS], rel=ROUNDING)


def wait_for_losses(process: subprocess.Popen[bytes], folder: Path) -> list[float]:
    """Return the losses of the first steps as soon as a pre-training has logged them."""
    end = time.monotonic() + 60 * MINUTES
    while process.poll() is None and time.monotonic() < end:
        time.sleep(5)
        for logs in folder.glob("pretraining/*/output/tensorboard"):
            events = EventAccumulator(str(logs), size_guidance={"scalars": 0})
            events.Reload()
            if "loss" in events.Tags()["scalars"] and len(events.Scalars("loss")) >= STEPS:
                return [event.value for event in events.Scalars("loss")[:STEPS]]
    pytest.fail(f"no {STEPS} steps: the pre-training ended, or took over {MINUTES} minutes")
