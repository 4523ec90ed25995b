# SPDX-License-Identifier: Apache-2.0
"""Files that are built to hurt end in one line, at once; nothing in them runs, and no memory is taken for them."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from universal_model_components.weights.checks import (
    NotPlainError,
    check_file,
    check_pickle,
    check_sizes,
    kind_problem,
)
from universal_model_components.weights.files import load_pickle, open_weights

TERABYTES = 10**12


class Stored:
    """A storage as the pickle of a torch.save file claims it."""

    def __init__(self, values):
        self.claim = ("storage", torch.FloatStorage, "0", "cpu", values)


class Rebuilt:
    """A tensor of claimed shape and strides."""

    def __init__(self, values, shape, strides):
        self.arguments = (Stored(values), 0, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


class Calling:
    """A call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.claim if isinstance(value, Stored) else None


def pickled(content):
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(content.key if isinstance(content, Key) else content)
    made = stream.getvalue()
    # {key: 1}, which Python itself could not make
    return b"\x80\x02}" + made[2:-1] + b"K\x01s." if isinstance(content, Key) else made


def forge(file, content, compression=zipfile.ZIP_STORED, data=b"\0" * 16):
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled(content))
        archive.writestr("a/data/0", data)
        archive.writestr("a/version", "3\n")


def nested(times):
    """2^times items in few bytes."""
    value = ()
    for _ in range(times):
        value = (value, value)
    return value


def cyclic():
    content = {}
    content["model"] = content
    return content


class Key:
    """A mapping with a key that cannot be hashed in this world's time."""

    def __init__(self, key):
        self.key = key


EXPANDED, REPEATED = Rebuilt(4, (TERABYTES,), (0,)), Rebuilt(4, (4,), (1,))
CONVERTED = Calling(torch._utils._rebuild_device_tensor_from_cpu_tensor, EXPANDED, torch.float64, "cpu", False)
FORGED = {
    "expanded": ({"w": EXPANDED}, r"has w \[1000000000000\], 4000000000000 bytes, but only 16 are stored for it"),
    "expanded in a list": ({"w": [EXPANDED]}, "but only 16 are stored for it"),
    "repeated": ({"w": [REPEATED] * 1000}, "has tensors of 16000 bytes in all, more than 4 times its own"),
    "claimed": ({"w": Rebuilt(TERABYTES, (4,), (1,))}, r"is unreadable"),
    "cyclic": (cyclic(), r"holds a mapping of \['model'\], expected a plain state dict"),
    "a key without end": (Key(nested(60)), "has a pickle with tuples that are too nested"),
    "allocating": ({"w": Calling(bytearray, TERABYTES)}, r"holds code \(bytearray\), which is not run"),
    "quantized": ({"w": Calling(torch._utils._rebuild_qtensor, 1)}, r"that are not plain, dense ones \(.*_qtensor\)"),
    "converted": ({"w": CONVERTED}, "holds tensors that are not plain, dense ones"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_ends_in_one_line(name, tmp_path):
    content, message = FORGED[name]
    forge(tmp_path / "a.pt", content)
    with pytest.raises(ValueError, match=message) as caught:
        open_weights(tmp_path / "a.pt", "key")
    assert str(caught.value).startswith(f"key: {tmp_path / 'a.pt'} ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


W = torch.rand(4, 4)
KINDS = {
    "sparse": (W.to_sparse(), "holds tensors that are not plain, dense ones"),
    "meta": (W.to("meta"), "holds tensors that are not plain, dense ones"),
    "complex": (W.to(torch.complex64), "w in .* is a complex64 tensor"),
    "float8": (W.to(torch.float8_e5m2), "w in .* is a float8_e5m2 tensor"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_named(kind, tmp_path):
    tensor, message = KINDS[kind]
    torch.save({"w": tensor}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message) as caught:
        open_weights(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="w in the given mapping is a "):
        open_weights({"w": tensor})
    if kind == "float8":
        save_file({"w": tensor}, tmp_path / "a.safetensors")
        with pytest.raises(ValueError, match="is a float8_e5m2 tensor"):
            open_weights(tmp_path / "a.safetensors")


def test_archives_whose_members_lie(tmp_path):
    forge(tmp_path / "a.pt", {"w": W[0, 0].item()}, zipfile.ZIP_DEFLATED, b"\0" * 100_000)
    with pytest.raises(NotPlainError, match="compressed members"):
        check_file(tmp_path / "a.pt")
    torch.save({"w": W}, tmp_path / "b.pt")
    content = (tmp_path / "b.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(content.replace(W.numpy().tobytes()[:8], b"\0" * 8))
    with pytest.raises(ValueError, match=r"b\.pt is damaged \(data/0 has another checksum\)"):
        load_pickle(tmp_path / "b.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_a_training_saves_is_plain(zipped, tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 1, 4, 4, 4)).sum().backward()
    optimizer.step()
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5])
    content = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "steps": steps.state_dict()}
    content |= {
        "parameter": network[0].weight,
        "half": W.bfloat16(),
        "shape": W.shape,
        "set": {1, 2},
        "rows": [{"a": 1.5}],
    }
    content |= {"tied": W, "again": W.t(), "none": None}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    check_file(tmp_path / "a.pt")
    loaded = load_pickle(tmp_path / "a.pt")
    assert torch.equal(loaded["network"]["0.weight"], network[0].weight)
    assert loaded["steps"] == steps.state_dict()
    assert open_weights(tmp_path / "a.pt").wrapping == ["network"]


def test_a_pickle_is_followed_but_not_executed():
    stream = io.BytesIO(pickle.dumps([(1, 2), {"a": [3, (4,)]}], protocol=2) + b"rest")
    check_pickle(stream)
    assert stream.read() == b"rest"
    with pytest.raises(NotPlainError, match=r"holds code \(eval\)"):
        check_pickle(io.BytesIO(pickle.dumps(Calling(eval, "1/0"), protocol=2)))


def test_sizes_and_kinds_of_tensors_in_memory():
    check_sizes({"a": [torch.ones(4), (torch.ones(2),)], "b": 1}, 24)
    with pytest.raises(NotPlainError, match="has a"):
        check_sizes({"a": torch.ones(1).expand(5)}, 100)
    for tensor in (torch.ones(1), torch.ones(1).half(), torch.tensor(3), torch.tensor([True])):
        assert kind_problem(tensor) is None
    assert kind_problem(W.to_sparse()) == "a sparse_coo tensor"
    assert kind_problem(W.to("meta")) == "a meta tensor, without values"
