# SPDX-License-Identifier: Apache-2.0
"""Packaged bundles, and their way to a user over a web server that may misbehave."""

from __future__ import annotations

import http.server
import importlib.util
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import monai
import pytest
import torch
import yaml
from conftest import REPOSITORY
from monai.bundle import download, download_large_files

from universal_model_components.commands.weights import verify
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.unet import UNet
from universal_model_components.weights.loading import load_pretrained
from universal_model_components.weights.provenance import complete, write_weights

WIDTHS = [4, 8, 16, 32]
NAME = "universal_model_pretraining"
CHECKS_FIRST = tuple(map(int, monai.__version__.split(".")[:2])) >= (1, 6)  # before it puts a download in place


class Server(http.server.BaseHTTPRequestHandler):
    """Serve a folder; `damage[name]` says how to get a file wrong."""

    folder: Path
    damage: dict[str, str] = {}  # noqa: RUF012  one server, one dict

    def do_GET(self):
        name = self.path.lstrip("/")
        content, how = (self.folder / name).read_bytes(), self.damage.get(name, "good")
        length: int | None = len(content)
        if how == "page":
            content = b"<!DOCTYPE html><html><body>Please log in</body></html>"
            length = len(content)
        elif how == "truncated":
            content = content[: len(content) // 2]
            length = len(content)
        elif how == "other":
            middle = len(content) // 2  # among the tensors
            content = content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]
        elif how == "dies":
            content = content[: len(content) // 2]  # and the length promised the whole
        elif how == "dies without a length":
            content, length = content[: len(content) // 2], None
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    handler = type("Handler", (Server,), {"folder": folder, "damage": {}})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield handler, folder, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()


def package(**options):
    """What the script does, without a process of its own."""
    spec = importlib.util.spec_from_file_location("package_bundles", REPOSITORY / "scripts" / "package_bundles.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.package(**{name: str(value) for name, value in options.items()})


@pytest.fixture(scope="module")
def released(server, tmp_path_factory):
    """All bundles packaged, one with weights; the weights' state dict."""
    _, folder, url = server
    state = UniversalModel(features=WIDTHS).state_dict()
    weights = tmp_path_factory.mktemp("weights")
    provenance = complete({"method": "test", "features": WIDTHS}, state)
    for name in ("model.pt", "model.safetensors"):
        write_weights(weights / NAME / name, state, provenance)
    package(base_url=url, output=folder, weights=weights)
    return weights, state


@pytest.fixture
def fetched(server, released, tmp_path):
    """The bundle as `python -m monai.bundle download` leaves it."""
    handler, _, url = server
    handler.damage.clear()
    download(name=NAME, bundle_dir=str(tmp_path), url=f"{url}/{NAME}_v0.1.0.zip", progress=False)
    return tmp_path / NAME


def test_every_bundle_is_there_and_the_same_twice(server, released, tmp_path):
    _, folder, url = server
    zips = sorted(path.name for path in folder.glob("*.zip"))
    assert zips == sorted(f"{path.name}_v0.1.0.zip" for path in (REPOSITORY / "bundles").iterdir())
    package(base_url=f"{url}/", output=tmp_path, weights=released[0])
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name
    page = (folder / "index.html").read_text()
    sums = (folder / "SHA256SUMS").read_text()
    assert all(name in page and name in sums for name in zips)
    with zipfile.ZipFile(folder / zips[0]) as archive:
        bundle = zips[0].partition("_v")[0]
        assert f"{bundle}/configs/train.json" in archive.namelist()
        assert f"{bundle}/configs/systems/i3d.json" in archive.namelist()
        assert f"{bundle}/LICENSE" in archive.namelist()


def test_a_good_download_is_what_was_packaged(fetched, released):
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "download_large_files", "--bundle_path", str(fetched)],
        check=True,
        capture_output=True,
    )
    verify(str(fetched))
    for name in ("model.pt", "model.safetensors"):
        network = UNet(1, 1, WIDTHS)
        assert load_pretrained(network, fetched / "models" / name)["encoder"].share == 1.0
        weight = "encoder.levels.3.conv2.weight"
        assert torch.equal(network.state_dict()[weight], released[1][weight])
    listed = yaml.safe_load((fetched / "large_files.yml").read_text())["large_files"]
    assert [set(entry) for entry in listed] == [{"path", "url", "hash_val", "hash_type"}] * 2


@pytest.mark.parametrize("provenance", [True, False])
@pytest.mark.parametrize("how", ["page", "truncated", "other", "dies", "dies without a length"])
def test_a_damaged_download_never_serves(how, provenance, server, fetched):
    handler, _, _ = server
    handler.damage.update(dict.fromkeys((f"{NAME}_v0.1.0_model.pt", f"{NAME}_v0.1.0_model.safetensors"), how))
    if not provenance:
        (fetched / "models/model.provenance.json").unlink()
    with pytest.raises((ValueError, RuntimeError, OSError)):
        download_large_files(bundle_path=str(fetched))
    model = fetched / "models/model.pt"
    left = [path.name for path in (fetched / "models").iterdir() if path.name.startswith("model.") and path.suffix]
    if CHECKS_FIRST or how == "dies":  # urllib itself notices a promise that is not kept
        assert set(left) <= {"model.provenance.json"}
    else:
        assert model.is_file()
        with pytest.raises(ValueError, match="pretrained_weights: ") as caught:
            load_pretrained(UNet(1, 1, WIDTHS), model)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="weights verify: 2 of 2 files are not as listed"):
        verify(str(fetched))
    handler.damage.clear()
    model.unlink(missing_ok=True)
    download_large_files(bundle_path=str(fetched))
    verify(str(fetched))


@pytest.mark.parametrize("how", ["page", "truncated", "dies"])
def test_a_damaged_zip_leaves_no_bundle(how, server, released, tmp_path):
    handler, _, url = server
    handler.damage = {f"{NAME}_v0.1.0.zip": how}
    with pytest.raises((zipfile.BadZipFile, OSError)):
        download(name=NAME, bundle_dir=str(tmp_path), url=f"{url}/{NAME}_v0.1.0.zip", progress=False)
    handler.damage = {}
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    "stray",
    ["eval/patient.nii.gz", "docs/notes.txt", "models/checkpoint.pt", "configs/a/b.json", "configs/systems/a/b.json"],
)
def test_files_that_no_bundle_has_are_refused(stray, bundles, tmp_path):
    shutil.copytree(bundles / NAME, tmp_path / "bundles" / NAME)
    file = tmp_path / "bundles" / NAME / stray
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("secret")
    with pytest.raises(ValueError, match=rf"{stray}: not one of a bundle's files") as caught:
        package(base_url="http://a/b", output=tmp_path / "dist", bundles=tmp_path / "bundles")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "dist").glob("*.zip"))


def negated(file):
    """Return a file's weights with every sign turned: of the right names and shapes, but not the provenance's."""
    return {name: -tensor for name, tensor in torch.load(file, weights_only=True).items()}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        [lambda file: file.write_bytes(b"<html>"), "is a web page"],
        [lambda file: torch.save(negated(file), file), "not those of its provenance"],
    ],
)
def test_weights_that_do_not_load_are_not_released(damage, message, released, tmp_path):
    shutil.copytree(released[0], tmp_path / "weights")
    damage(tmp_path / "weights" / NAME / "model.pt")
    with pytest.raises(ValueError, match=message) as caught:
        package(base_url="http://a/b", output=tmp_path / "dist", weights=tmp_path / "weights")
    assert "\n" not in str(caught.value)


def test_a_folder_without_any_bundles_weights_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="no folder in it has the name of a bundle"):
        package(base_url="http://a/b", output=tmp_path / "dist", weights=tmp_path / "typo")


def test_the_command_line_names_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, str(REPOSITORY / "scripts" / "package_bundles.py"), "--base_url", "example.org"]
    done = subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "package_bundles: --base_url example.org is no address" in done.stderr
