# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch
import yaml
from original_network import original_state

from universal_model_components.commands.weights import compare, convert, inspect, verify
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.unet import UNet
from universal_model_components.weights.loading import load_pretrained, trusted_weights
from universal_model_components.weights.monai_networks import NETWORKS
from universal_model_components.weights.provenance import complete, provenance_file, write_weights

WIDTHS = [4, 8, 16, 32]


@pytest.fixture
def model(tmp_path):
    state = UniversalModel(features=WIDTHS).state_dict()
    write_weights(tmp_path / "model.pt", state, complete({"seed": 3}, state))
    return str(tmp_path / "model.pt")


@pytest.fixture
def original(tmp_path):
    state = {f"module.{name}": tensor for name, tensor in original_state(WIDTHS).items()}
    torch.save({"state_dict": state}, tmp_path / "Genesis.pt")
    return str(tmp_path / "Genesis.pt")


def test_inspect_tells_shapes_width_hash_and_provenance(model, original, capsys):
    inspect(model)
    text = capsys.readouterr().out
    assert "encoder.levels.0.conv1.weight" in text
    assert "2×1×3×3×3 float32" in text
    assert "[4, 8, 16, 32]" in text
    assert "of these tensors" in text
    with open(model, "rb") as handle:
        assert hashlib.sha256(handle.read()).hexdigest() in text
    assert '"seed": 3' in text
    inspect(original)
    text = capsys.readouterr().out
    assert "PyTorch in state_dict in module." in text
    assert "the original's" in text
    torch.save(UniversalModel(features=WIDTHS).state_dict(), model)
    inspect(model)
    assert "NOT of these tensors, its sha256 is" in capsys.readouterr().out
    provenance_file(original).write_text("{}")
    inspect(original)
    assert "NOT of these tensors, its sha256 is None" in capsys.readouterr().out
    for content in (b"[" * 100_000, b"\xff\xfe", b"[]"):
        provenance_file(model).write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.provenance\.json: no provenance \(.*\): download or write"):
            inspect(model)


def test_convert_there_and_back_changes_nothing(model, tmp_path, capsys):
    convert(model, "safetensors", str(tmp_path / "a.safetensors"))
    convert(str(tmp_path / "a.safetensors"), "pt", str(tmp_path / "b.pt"))
    compare(model, str(tmp_path / "b.pt"))
    assert "the same" in capsys.readouterr().out
    provenance = trusted_weights(tmp_path / "b.pt")[1]
    assert (provenance["seed"], provenance["converted_from"]["file"]) == (3, "model.pt")


def test_convert_an_original_checkpoint(original, tmp_path, capsys, caplog):
    convert(original, "universal", str(tmp_path / "model.pt"))
    compare(original, str(tmp_path / "model.pt"))
    assert torch.load(tmp_path / "model.pt", weights_only=True).keys() == UNet(1, 1, WIDTHS).state_dict().keys()
    provenance = trusted_weights(tmp_path / "model.pt")[1]
    assert provenance["normalization"] == "batch statistics, in evaluation too"
    assert provenance["converted_from"]["file"] == "Genesis.pt"
    load_pretrained(UNet(1, 1, WIDTHS), tmp_path / "model.pt")
    assert "give batch_statistics true" in caplog.text


@pytest.mark.parametrize("name", NETWORKS)
def test_convert_for_monais_networks(name, model, tmp_path, capsys):
    convert(model, name, str(tmp_path / "out.safetensors"))
    assert "share" in capsys.readouterr().out
    network, state = NETWORKS[name](WIDTHS), trusted_weights(tmp_path / "out.safetensors")[0].state
    result = network.load_state_dict(state, strict=False)
    assert result.unexpected_keys == []
    ours = [tensor for key, tensor in trusted_weights(model)[0].state.items() if key.startswith("encoder.")]
    assert sorted(t.double().sum().item() for t in state.values()) == sorted(t.double().sum().item() for t in ours)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        [{"to": "onnx", "output": "x.pt"}, "--to onnx is unknown: give one of universal"],
        [{"to": "safetensors", "output": "x.pt"}, r"--output .*x\.pt ends in \.pt"],
        [{"to": "universal", "output": "x.bin"}, r"ends in \.bin: give a \.pt"],
        [{"to": "universal", "output": "model.pt"}, "exists: give another name"],
        [{"to": "universal", "output": "x.pt", "file": "foreign.pt"}, r"foreign\.pt has no tensor of an encoder"],
        [{"to": "unet", "output": "x.pt", "file": "foreign.pt"}, r"foreign\.pt has no tensor of an encoder"],
    ],
)
def test_convert_names_what_is_wrong(options, message, model, tmp_path):
    torch.save({"backbone.weight": torch.zeros(1)}, tmp_path / "foreign.pt")
    file = str(tmp_path / options.pop("file")) if "file" in options else model
    with pytest.raises(ValueError, match=message) as caught:
        convert(file, **{**options, "output": str(tmp_path / options["output"])})
    assert "\n" not in str(caught.value)


def test_compare_names_each_difference(model, tmp_path, capsys):
    state = dict(UniversalModel(features=WIDTHS).state_dict())
    state.update(trusted_weights(model)[0].state)
    state["decoder.head.bias"] = state["decoder.head.bias"] + 0.5
    state["extra.weight"] = torch.ones(1)
    del state["encoder.levels.0.conv1.bias"]
    state["decoder.head.weight"] = state["decoder.head.weight"][:, :2]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="4 of"):
        compare(model, str(tmp_path / "other.pt"))
    text = capsys.readouterr().out
    assert text.count("\n") == 4
    assert "largest difference 0.5" in text
    assert "only in the first" in text
    assert "only in the second" in text
    assert "[1, 4, 1, 1, 1] and [1, 2, 1, 1, 1]" in text


def bundle_of(model, tmp_path, **changes):
    """A bundle that lists its model."""
    folder = tmp_path / "bundle"
    (folder / "models").mkdir(parents=True)
    content = (tmp_path / "model.pt").read_bytes()
    (folder / "models/model.pt").write_bytes(content)
    entry = {"path": "models/model.pt", "url": "http://127.0.0.1/model.pt", "hash_type": "sha256"}
    entry |= {"hash_val": hashlib.sha256(content).hexdigest(), **changes}
    (folder / "large_files.yml").write_text(yaml.safe_dump({"large_files": [entry]}))
    return folder


def test_verify_and_loading_refuse_what_is_not_as_listed(model, tmp_path, capsys):
    folder = bundle_of(model, tmp_path)
    verify(str(folder))
    file = folder / "models/model.pt"
    load_pretrained(UNet(1, 1, WIDTHS), file)
    torch.save(UniversalModel(features=WIDTHS).state_dict(), file)  # whole, but other weights
    with pytest.raises(ValueError, match="1 of 1 files are not as listed"):
        verify(str(folder))
    assert "sha256 is" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"model\.pt: sha256 is .*: delete it and download it again") as caught:
        load_pretrained(UNet(1, 1, WIDTHS), file)
    assert "\n" not in str(caught.value)
    trained = UniversalModel(features=WIDTHS).state_dict()  # weights of one's own, with their provenance, are no fraud
    write_weights(file, trained, complete(None, trained))
    load_pretrained(UNet(1, 1, WIDTHS), file)
    file.unlink()
    with pytest.raises(ValueError, match="1 of 1"):
        verify(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        [{"hash_val": ""}, "lacks one of"],
        [{"hash_type": "crc32"}, "hash_type 'crc32' is not one of"],
        [{"path": "../model.pt"}, "leaves the bundle"],
        [{"path": "/etc/model.pt"}, "leaves the bundle"],
    ],
)
def test_lists_that_are_wrong(changes, message, model, tmp_path):
    with pytest.raises(ValueError, match=message):
        verify(str(bundle_of(model, tmp_path, **changes)))
    with pytest.raises(FileNotFoundError, match=r"no large_files\.yml"):
        verify(str(tmp_path))
    with pytest.raises(ValueError, match=r"model\.pt is one file: give its bundle"):  # it is a zip, not a bundle's
        verify(model)
    repeated = "".join(f"  - &a{n} [{f'*a{n - 1}, ' * 9 if n else 0}]\n" for n in range(30))
    (tmp_path / "large_files.yml").write_text(f"large_files:\n{repeated}")
    with pytest.raises(ValueError, match="lacks one of"):
        verify(str(tmp_path))
    (tmp_path / "large_files.yml").write_text("large_files:\n")
    with pytest.raises(ValueError, match="no list `large_files`"):
        verify(str(tmp_path))


def test_the_command_line(model, original, tmp_path):
    def run(*options):
        command = [sys.executable, "-m", "universal_model_components", "weights", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("convert", original, "--to", "universal", "--output", "ours.safetensors").returncode == 0
    assert "features               [4, 8, 16, 32]" in run("inspect", "ours.safetensors").stdout
    failed = run("compare", model, "ours.safetensors")
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].startswith("universal_model_components: weights compare: ")
    missing = run("inspect", "nowhere.pt")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
