# SPDX-License-Identifier: Apache-2.0
"""The demo as `make demo` calls it, at a size that takes a minute."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from universal_model_components.commands.demo import Steps, prepared_scans

BUNDLE = str(REPOSITORY / "bundles" / "universal_model_pretraining")


def demo(*options, cwd="/"):
    command = [sys.executable, "-m", "universal_model_components", "demo", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_demo_ends_in_a_report(tmp_path):
    small = ["--cases", 2, "--epochs", 2, "--features", "[4,8,16,32]", "--patch_size", "[16,16,16]"]
    result = demo("--output", tmp_path / "demo", "--bundle", BUNDLE, *small)
    assert result.returncode == 0, result.stderr[-3000:]
    page = (tmp_path / "demo" / "report.html").read_text()
    for step in ("draw", "label", "prepare", "train", "evaluate"):
        assert f"== {step}" in result.stdout
    said = ("Did it learn to restore?", "Linear probes of the features", "read voxel by voxel from the frozen features")
    for part in (*said, "data:image/png;base64", "evaluate.json"):
        assert part in page
    assert 'src="http' not in page
    assert {path.stem for path in (tmp_path / "demo" / "output" / "panels").glob("[a-z]*.png")} >= {
        "nonlinear",
        "shuffle",
        "inner",
        "outer",
        "overall",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        [["--bundle", "/nowhere"], "demo: no bundle at /nowhere"],
        [["--bundle", BUNDLE, "--data", "/nowhere"], "demo: data folder /nowhere does not exist"],
    ],
)
def test_mistakes_end_in_one_line(tmp_path, options, message):
    result = demo("--output", tmp_path, *options)
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1].startswith(message)


def test_scans_of_the_store_alternate_between_the_modalities(cube_store):
    files = prepared_scans(cube_store, cube_store.parent / "scans", limit=4)
    assert [file.parent.name for file in files] == ["ct", "mri", "ct", "mri"]
    assert all(file.is_file() for file in files)


def test_steps_are_timed_and_a_failing_one_is_named(tmp_path, capfd):
    steps, seen = Steps(), []
    steps.call("draw", "some scans", lambda: seen.append(1))
    assert seen == [1]
    assert [step[:2] for step in steps.done] == [("draw", "some scans")]
    assert "== draw: some scans" in capfd.readouterr().out
    with pytest.raises((SystemExit, ChildProcessError), match=r"step 'train' failed with exit code [1-9]"):
        steps.bundle("train", [tmp_path / "configs" / "none.json"])
    assert len(steps.done) == 1
