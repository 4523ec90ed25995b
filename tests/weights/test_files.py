# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file

from universal_model_components.weights.files import WeightFile, load_pickle, open_weights

STATE = {"encoder.a": torch.ones(2, 3)}


def test_containers_and_wrappers_hold_the_same_tensors(tmp_path):
    torch.save(STATE, tmp_path / "plain.pt")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}}, tmp_path / "wrapped.pt")
    save_file(STATE, tmp_path / "a.safetensors", {"provenance": "{}"})
    sources = [tmp_path / name for name in ("plain.pt", "wrapped.pt", "a.safetensors")]
    found = [open_weights(source) for source in (*sources, STATE)]
    assert all(isinstance(file, WeightFile) and file.state.keys() == STATE.keys() for file in found)
    assert all(torch.equal(file.state["encoder.a"], STATE["encoder.a"]) for file in found)
    assert [file.kind for file in found] == ["PyTorch", "PyTorch", "safetensors", "mapping"]
    assert found[1].wrapping == ["state_dict", "module."]
    assert found[2].metadata == {"provenance": "{}"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html>", r"key: .*a\.pt is a web page, not weights: download it again"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"nonsense", r"a\.pt is unreadable"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, content, message):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_weights(tmp_path / "a.pt", "key")
    with pytest.raises(FileNotFoundError, match=r"^key: no file .*b\.pt"):
        open_weights(tmp_path / "b.pt", "key")
    with pytest.raises(ValueError, match=r"^key: True is not a file"):
        open_weights(True, "key")


def test_code_in_a_pickle_is_named_and_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return shutil.copy, (str(tmp_path / "a.pt"), str(tmp_path / "harm"))

    torch.save({"a": Harmful()}, tmp_path / "a.pt", pickle_module=pickle)
    with pytest.raises(ValueError, match=r"^key: .*a\.pt holds code \(shutil\.copy\), which is not run"):
        load_pickle(tmp_path / "a.pt", "key")
    assert not (tmp_path / "harm").exists()
    torch.save(STATE, tmp_path / "b.pt")
    assert torch.equal(load_pickle(tmp_path / "b.pt")["encoder.a"], STATE["encoder.a"])
