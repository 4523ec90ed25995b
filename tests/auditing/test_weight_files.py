# SPDX-License-Identifier: Apache-2.0
"""Weights are read opcode by opcode; the hostile ones are never loaded."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hostile_bundles import DECOY, Hostile, zipped
from safetensors.torch import save

from universal_model_components.auditing.weight_files import audit_weights, pickled_names

STATE = {"weight": torch.ones(2, 3), "half": torch.ones(2, dtype=torch.bfloat16), "count": torch.tensor(3)}


def saved(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        saved(STATE),
        saved(OrderedDict(STATE)),
        saved({"state": STATE, "epoch": 3, "features": [1, 2]}),
        saved(STATE, _use_new_zipfile_serialization=False),
        saved(torch.nn.Parameter(torch.ones(2))),
        save(STATE),
        pickle.dumps({"a": [1, 2]}, 0),
    ],
)
def test_tensors_pass(content):
    assert [entry for entry in audit_weights("model.pt", content) if entry.problems] == []


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_is_marked_in_every_protocol(protocol):
    content = pickle.dumps({"weight": Hostile(os.system, "id")}, protocol)
    (entry,) = audit_weights("model.pt", content)
    assert entry.problems == ("posix.system: not of tensors",)


def test_a_pickle_in_an_archive_or_after_another_is_marked(tmp_path):
    hostile = pickle.dumps(Hostile(eval, "1"), 2)
    within = zipped(tmp_path / "a.pt", data_pkl=hostile)
    after = pickle.dumps(1, 2) + pickle.dumps(Hostile(eval, "1"), 0)
    nested = saved({"weight": torch.ones(1), "x": Hostile(eval, "1")})
    for content in (within, after, nested):
        found = [problem for entry in audit_weights("model.pt", content) for problem in entry.problems]
        assert found == ["builtins.eval: not of tensors"] or found == ["__builtin__.eval: not of tensors"]


def test_the_stack_is_followed_and_not_guessed():
    assert pickled_names(io.BytesIO(DECOY)) == {"posix system"}
    names = [argument for opcode, argument, _ in pickletools.genops(DECOY) if isinstance(argument, str)]
    assert names[-2:] == ["collections", "OrderedDict"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [{"a": (1, [2.5, {3}]), "b": np.arange(3)}, OrderedDict(a=OrderedDict), [int, print]])
def test_names_are_those_that_unpickling_asks_for(protocol, value):
    content, asked = pickle.dumps(value, protocol), set()

    class Asking(pickle.Unpickler):
        def find_class(self, module, name):
            asked.add(f"{module} {name}")
            return super().find_class(module, name)

    Asking(io.BytesIO(content)).load()
    modern = {name.replace("__builtin__", "builtins").replace("copy_reg", "copyreg") for name in asked}
    found = pickled_names(io.BytesIO(content))
    assert {name.replace("__builtin__", "builtins").replace("copy_reg", "copyreg") for name in found} == modern


def test_what_cannot_be_read_is_marked(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    script = torch.jit.script(torch.nn.Linear(2, 2))
    script.save(str(tmp_path / "model.ts"))
    cases = {
        "cut short": (pickle.dumps([1, 2, 3])[:-1], "cannot be read to its end"),
        "empty": (b"", "cannot be read to its end"),
        "noise": (b"\x00" * 64, "cannot be read to its end"),
        "looks like safetensors": (b"(S'aaaa'{" + b"\n", "cannot be read to its end"),
        "objects": (stream.getvalue(), "an array of objects"),
        "TorchScript": ((tmp_path / "model.ts").read_bytes(), "code, as of TorchScript"),
        "damaged zip": (saved(STATE)[:200], "cannot be read"),
        "unknown extension": (pickle.PROTO + b"\x02" + pickle.EXT1 + b"\x01" + pickle.STOP, "unknown"),
    }
    for name, (content, reason) in cases.items():
        found = [str(entry) for entry in audit_weights("model.pt", content) if entry.problems]
        assert any(reason in line for line in found), (name, found)
