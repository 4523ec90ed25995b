# SPDX-License-Identifier: Apache-2.0
"""All bundles in one MONAI Label server: `make test-label`. Run by the project's Python; the server has its own."""

from __future__ import annotations

import csv
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from integration.copies import halve_mask, with_weights
from integration.environments import NotInstallable, environment, interpreter
from integration.scans import CT, MRI, bright, cut

from universal_model_components.imaging.normalization import load_scan

BUNDLES = sorted(folder.name for folder in (REPOSITORY / "bundles").iterdir() if (folder / "configs").is_dir())
SEGMENTATION = [name for name in BUNDLES if name.endswith("segmentation")]
CLASSIFICATION = [name for name in BUNDLES if name.endswith("classification")]
PRETRAINING = "universal_model_pretraining"
DAMAGED = "damaged_ct_segmentation"
MISMATCH = "Checkpoint keys don't match"
SETTINGS = {"features": [4, 8, 16, 32], "patch_size": [32, 32, 32], "num_workers": 0}  # for a CPU; nothing else changes


class Server:
    """A running server: its address, its app's folder, its log."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.app, self.studies, self.log = folder / "app", folder / "studies", folder / "server.log"
        app = next(python.parents[1].glob("monailabel/sample-apps/monaibundle"))
        shutil.copytree(app, self.app, ignore=shutil.ignore_patterns("model", "logs"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.python, self.process = python, None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, models: list[str]) -> None:
        command = [str(self.python), str(REPOSITORY / "scripts/monai_label_server.py"), "start_server"]
        command += ["--app", str(self.app), "--studies", str(self.studies), "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--conf", "models", ",".join(models)]
        command += ["--conf", "zoo_source", "ngc", "--conf", "sam2", "false"]
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment(), cwd=self.app)
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                self.get("/info/")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(1)
        self.stop()
        raise AssertionError(f"the server did not start: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else b"", method="POST")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=900) as answer:
                assert answer.status == 200
                return answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code}\n{self.log.read_text()[-4000:]}") from error


@pytest.fixture(scope="module")
def server(real_data, bundles, tmp_path_factory):
    """The server with all bundles and one damaged copy, on parts of real scans."""
    try:
        python = interpreter("label")
    except NotInstallable as error:
        pytest.skip(f"MONAI Label: {error}")
    server = Server(python, tmp_path_factory.mktemp("label"))
    images = server.studies
    cut(real_data / CT, images / "ct_0.nii.gz", (60, 90, 60), (40, 36, 24))
    cut(real_data / CT, images / "ct_1.nii.gz", (120, 100, 40), (36, 40, 24))
    cut(real_data / MRI, images / "mri_0.nii.gz", (40, 40, 30), (30, 28, 26))
    cut(real_data / MRI, images / "mri_1.nii.gz", (50, 30, 40), (28, 30, 26))
    for number, image in enumerate(sorted(images.glob("*.nii.gz"))):
        bright(image, images / "labels/final" / image.name, 0.3 if number % 2 else 0.0)
    for name in BUNDLES:
        copy = with_weights(bundles / name, server.app / "model", **SETTINGS)
        if name in SEGMENTATION:
            halve_mask(copy, load_scan(images / f"{kind(name)}_0.nii.gz", *window(name)).volume)
    damaged = server.app / "model" / DAMAGED
    shutil.copytree(server.app / "model" / SEGMENTATION[-1], damaged)
    state = torch.load(damaged / "models/model.pt", weights_only=True)
    torch.save({name: tensor for name, tensor in state.items() if "head" not in name}, damaged / "models/model.pt")
    server.start([*BUNDLES, DAMAGED])
    yield server
    server.stop()


def kind(name: str) -> str:
    return "ct" if "_ct_" in name or name == PRETRAINING else "mri"


def window(name: str) -> tuple:
    return ((-1000, 1000), "range") if kind(name) == "ct" else ((0, 4000), "volume")


def infer(server: Server, name: str, image: str, output: str) -> bytes:
    device = urllib.parse.quote(json.dumps({"device": "cpu"}))
    return server.post(f"/infer/{name}?image={image}&output={output}&params={device}")


def command_line(server: Server, name: str, image: str, output: Path, *further: str) -> Path:
    """Run the same bundle by `monai.bundle run` on the same scan, and return the folder of its results."""
    bundle, scans = server.app / "model" / name, output / "scans"
    scans.mkdir(parents=True)
    shutil.copy(server.studies / f"{image}.nii.gz", scans)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs/inference.json")]
    command += ["--bundle_root", str(bundle), "--dataset_dir", str(scans), "--output_dir", str(output / "results")]
    done = subprocess.run([*command, *further], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return output / "results"


def weights_of(server: Server, name: str) -> dict[str, torch.Tensor]:
    return torch.load(server.app / "model" / name / "models/model.pt", weights_only=True)


def learned(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    """Whether every convolution has moved: running statistics change without an optimizer, too."""
    names = [name for name in before if name.endswith("conv1.weight")]
    return bool(names) and not any(torch.equal(before[name], after[name]) for name in names)


def same_volume(answer: bytes, folder: Path, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of an answer and of the one file in a folder, after checking that they lie in one place."""
    file.write_bytes(answer)
    served, (own,) = nibabel.load(file), [nibabel.load(one) for one in folder.rglob("*.nii.gz")]
    assert served.shape == own.shape
    np.testing.assert_allclose(served.affine, own.affine, atol=1e-3)
    return np.asarray(served.dataobj), np.asarray(own.dataobj)


def test_info_lists_every_bundle_with_its_labels(server):
    models = server.get("/info/")["models"]
    assert set(models) == {*BUNDLES, DAMAGED}
    assert models["left_atrium_ct_segmentation"]["labels"] == {"left atrium": 1}
    for name in BUNDLES:
        expected = json.loads((REPOSITORY / "bundles" / name / "configs/metadata.json").read_text())
        channels = expected["network_data_format"]["outputs"]["pred"]["channel_def"]
        names = {label.lower(): int(value) for value, label in channels.items() if label != "background"}
        assert models[name]["labels"] == names
        assert models[name]["type"] == ("classification" if name in CLASSIFICATION else "segmentation")


@pytest.mark.parametrize("name", SEGMENTATION)
def test_mask_is_the_command_lines(name, server, tmp_path):
    answer = infer(server, name, f"{kind(name)}_0", "image")
    folder = command_line(server, name, f"{kind(name)}_0", tmp_path)
    served, own = same_volume(answer, folder, tmp_path / "served.nii.gz")
    assert 0.2 < own.mean() < 0.8
    np.testing.assert_array_equal(served, own)


def test_restored_scan_is_the_command_lines(server, tmp_path):
    answer = infer(server, PRETRAINING, "ct_0", "image")
    folder = command_line(server, PRETRAINING, "ct_0", tmp_path, "--modality", "ct")
    served, own = same_volume(answer, folder, tmp_path / "served.nii.gz")
    np.testing.assert_allclose(served, own, atol=0.05)  # HU


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_scores_are_the_command_lines(name, server, tmp_path):
    image, further = f"{kind(name)}_0", []
    if name == "lung_nodule_ct_classification":  # Label knows no candidates and takes the cube in the middle
        scan = load_scan(server.studies / f"{image}.nii.gz", *window(name))
        middle = scan.affine @ [*(side // 2 for side in scan.volume.shape), 1]
        row = [image, -middle[0], -middle[1], middle[2]]
        (tmp_path / "candidates.csv").write_text("seriesuid,coordX,coordY,coordZ\n" + ",".join(map(str, row)) + "\n")
        further = ["--candidates", str(tmp_path / "candidates.csv")]
    scores = json.loads(infer(server, name, image, "json"))["prediction"]
    folder = command_line(server, name, image, tmp_path, *further)
    (file,) = folder.rglob("*.csv")
    (row,) = csv.DictReader(file.open())
    assert [score["idx"] for score in scores] == [0, 1]
    assert scores[1]["score"] == pytest.approx(float(row["probability"]), abs=1e-5)
    assert scores[0]["score"] + scores[1]["score"] == pytest.approx(1, abs=1e-5)


def test_no_weights_were_left_out_but_the_damaged_ones(server):
    """Label loads with strict=False and answers 200 with random weights: only its log shows it."""
    assert MISMATCH not in server.log.read_text()
    infer(server, DAMAGED, f"{kind(SEGMENTATION[-1])}_0", "image")
    assert MISMATCH in server.log.read_text()


@pytest.mark.parametrize("name", [*SEGMENTATION, *CLASSIFICATION])
def test_an_epoch_of_training_changes_the_model(name, server):
    before = weights_of(server, name)
    request = {"max_epochs": 1, "val_split": 0.4, "device": "cpu", "multi_gpu": False}
    server.post(f"/train/{name}?run_sync=true", {name: request, **request})
    assert learned(before, weights_of(server, name))


def test_training_without_validation_cases(server):
    """The first labeled scans of an active-learning session are too few to hold any out."""
    before = weights_of(server, SEGMENTATION[0])
    request = {"max_epochs": 1, "val_split": 0, "device": "cpu", "multi_gpu": False}
    server.post(f"/train/{SEGMENTATION[0]}?run_sync=true", request)
    assert learned(before, weights_of(server, SEGMENTATION[0]))
