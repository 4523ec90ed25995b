# SPDX-License-Identifier: Apache-2.0
"""The wheel and a zipped bundle, in an environment that knows neither this repository nor a PYTHONPATH."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
from conftest import REPOSITORY

import universal_model_components

NAME = "universal_model_pretraining"


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with the wheel and the packaged bundles."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "universal_model_components", source / "universal_model_components", ignore=ignore)
    isolated = [] if importlib.util.find_spec("setuptools") is None else ["--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--wheel-dir", str(folder), *isolated]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    script = [sys.executable, str(REPOSITORY / "scripts" / "package_bundles.py"), "--base_url", "http://127.0.0.1/x"]
    subprocess.run([*script, "--output", str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_a_bundle_trains_from_its_zip_and_the_wheel_alone(dist, cube_store, tmp_path):
    (wheel,) = dist.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    purelib = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")})
    # the dependencies of the environment that runs the tests; its .pth files, so an editable install too, do not count
    with open(os.path.join(purelib, "dependencies.pth"), "w") as handle:
        handle.write(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(*command):
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run(*pip)
    where = run(python, "-c", "import universal_model_components as u; print(u.__file__, u.__version__)").split()
    assert where[0].startswith(str(tmp_path / "env"))
    assert where[1] == universal_model_components.__version__
    with zipfile.ZipFile(dist / f"{NAME}_v0.1.0.zip") as archive:
        archive.extractall(tmp_path)
    config = tmp_path / NAME / "configs" / "train.json"
    options = ["--bundle_root", str(tmp_path / NAME), "--cube_store", str(cube_store), "--features", "[4,8,16,32]"]
    options += ["--epochs", "1", "--num_workers", "0", "--panel_interval", "0"]
    run(python, "-m", "monai.bundle", "run", "--config_file", str(config), *options)
    text = run(
        python, "-m", "universal_model_components", "weights", "inspect", str(tmp_path / NAME / "models/model.pt")
    )
    assert "of these tensors" in text


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_license_and_nothing_else(dist):
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    package = REPOSITORY / "universal_model_components"
    modules = {str(p.relative_to(REPOSITORY)) for kind in ("*.py", "*.json") for p in package.rglob(kind)}
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == modules
    assert any(name.endswith("LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in metadata or "License: Apache-2.0" in metadata
    assert wheel.name in (dist / "index.html").read_text()
