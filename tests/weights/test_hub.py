# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import sys

import pytest
import torch
from hub import Repository, client_of, serve_hub

import universal_model_components
from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.hub import MODEL_FILES, find_weights
from universal_model_components.weights.loading import load_pretrained, trusted_weights
from universal_model_components.weights.provenance import complete, write_weights

FEATURES = [4, 8]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model with its provenance, as training writes it; its state dict."""
    torch.manual_seed(3)
    state = UniversalModel(features=FEATURES).state_dict()
    folder = tmp_path_factory.mktemp("bundle") / "models"
    for name in MODEL_FILES:
        write_weights(folder / name, state, complete({"method": "test"}, state))
    return folder, state


@pytest.fixture(scope="module")
def hub(model, tmp_path_factory):
    """A hub with a bundle of both files, one of safetensors alone, one without weights, and this process's client."""
    files = {f"models/{path.name}": path.read_bytes() for path in model[0].iterdir()}
    contents = {
        "ours/bundle": {**files, "large_files.yml": b"large_files: []\n", "docs/huge.png": b"0"},
        "ours/safe": {"model.safetensors": files["models/model.safetensors"]},
        "ours/empty": {"README.md": b"nothing yet"},
    }
    with serve_hub() as running, client_of(running, tmp_path_factory.mktemp("cache")):
        for name, content in contents.items():
            running.repositories[name] = Repository()
            running.repositories[name].add(content)
        yield running


def test_a_file_a_bundle_and_a_folder_of_models(model):
    folder, _ = model
    for source in (folder, folder.parent, str(folder.parent), folder / "model.pt"):
        assert find_weights(source).samefile(folder / "model.pt"), source
    assert find_weights(folder / "model.safetensors").name == "model.safetensors"


@pytest.mark.parametrize("name", ["ours/bundle", "ours/safe"])
def test_a_repositorys_weights_are_checked_and_loaded(name, model, hub):
    found, provenance = trusted_weights(name)
    assert provenance["method"] == "test"
    assert found.state.keys() == model[1].keys()
    assert not [line for line in hub.requests if line.endswith("huge.png")]  # only what is needed
    network = UniversalModel(features=FEATURES)
    assert load_pretrained(network, name, new_heads=())["decoder"].share == 1.0
    made = universal_model_components.encoder(weights=name)
    assert torch.equal(made.levels[1].conv2.weight, model[1]["encoder.levels.1.conv2.weight"])
    whole = universal_model_components.UniversalModel.from_pretrained(name).state_dict()
    assert all(torch.equal(tensor, model[1][key]) for key, tensor in whole.items())


def test_a_repository_that_was_downloaded_is_found_without_a_connection(hub, monkeypatch):
    first = find_weights("ours/bundle")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find_weights("ours/bundle") == first


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ours/typo", r"no file or folder ours/typo, .* the Hugging Face Hub \(RepositoryNotFoundError\): give a path"),
        ("ours/empty", r"the repository ours/empty has none of \('model\.pt', 'model\.safetensors'\): give another"),
        ("ours/typo.pt", r"no file ours/typo\.pt: train or download first"),
        ("not/a/repository", "no file not/a/repository: train or download first"),
        ("", "no file '': give a model.pt"),
        ("null", "no file 'null': give a model.pt"),
        (None, "no file None: give a model.pt"),
        ("a" * 300, "no file 'a{300}': give a model.pt"),
    ],
)
def test_what_is_nowhere_is_named_in_one_line(source, message, hub):
    with pytest.raises(FileNotFoundError, match=rf"^key: {message}") as caught:
        find_weights(source, "key")
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^key: {re.escape(str(tmp_path))} has none of .* or give a file$"):
        find_weights(tmp_path, "key")


def test_without_the_extra_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match=r'ours/bundle; .* pip install "universal-model-components\[hub\]"$'):
        find_weights("ours/bundle")
