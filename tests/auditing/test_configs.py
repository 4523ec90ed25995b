# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from universal_model_components.auditing.configs import audit_config, imported_names, read_config, unreadable, walk
from universal_model_components.auditing.logging_files import audit_logging


def test_json_and_yaml_are_read_alike():
    content = {"a": [1, {"b": "$c"}]}
    assert read_config("a.json", b'{"a": [1, {"b": "$c"}]}') == content
    assert read_config("a.YML", b"a: [1, {b: $c}]") == content
    with pytest.raises(ValueError, match="the key 'a' is there twice"):
        read_config("a.json", b'{"a": {"a": 1, "a": 2}}')
    with pytest.raises(ValueError, match="python/name"):
        read_config("a.yaml", b"a: !!python/name:os.system")


def test_every_value_has_its_place():
    found = [("::".join(place), value) for place, value, _ in walk({"a": [1, {"b": 2}], 3: None})]
    assert found == [("a", [1, {"b": 2}]), ("a::0", 1), ("a::1", {"b": 2}), ("a::1::b", 2), ("3", None)]


def test_imports_of_all_configs_count_and_monais_own():
    names = imported_names({"a.json": {"imports": ["$import os as x"]}, "b.json": ["$import torch as x", "$broken("]})
    assert names["x"] == {"os", "torch"}
    assert names["np"] == {"numpy"}


def test_entries_of_a_config():
    content = {"imports": ["$import torch"], "a": {"_target_": "UNet", "x": "$torch.ones(1)", "y": "text"}}
    entries = list(audit_config("configs/a.json", content, imported_names({"a": content}), []))
    found = [(entry.kind, entry.place, entry.text, entry.problems) for entry in entries]
    assert found == [
        ("import", "imports::0", "$import torch", ()),
        ("target", "a::_target_", "UNet", ()),
        ("expression", "a::x", "$torch.ones(1)", ()),
    ]


def test_macros_and_addresses_inside_and_outside_a_bundle():
    content = {"a": "%b", "b": "%configs/train.json::c", "c": "%other.json", "d": "https://a"}
    for name, marked in (("configs/a.json", ["c", "d"]), ("configs/metadata.json", ["c"]), ("docs/a.json", ["c"])):
        entries = audit_config(name, content, {}, ["bundle/configs/train.json", name])
        assert [entry.place for entry in entries] == marked


def test_an_unreadable_file_is_one_entry():
    assert str(unreadable("a.json", ValueError("why"))) == "! file       -: a.json  <- cannot be read (why)"


def test_python_evaluates_a_logging_file():
    good = b"[handler_a]\nclass=StreamHandler\nargs=(sys.stdout,)\nlevel=INFO\n[formatter_b]\nformat=%(message)s\n"
    assert [(entry.kind, entry.problems) for entry in audit_logging("a.conf", good)] == [
        ("target", ()),
        ("expression", ()),
    ]
    handler = b"[handler_a]\nclass=logging.FileHandler\n"
    bad = b"[DEFAULT]\nargs=(open('a', 'w'),)\n" + handler + b"[formatter_b]\nclass=logging.Formatter\n"
    marked = {entry.place for entry in audit_logging("a.conf", bad) if entry.problems}
    assert marked == {"handler_a::class", "handler_a::args", "formatter_b::args"}
    put_in = (
        b"[handler_a]\nclass=StreamHandler\nargs=('%(x)s',)\nx='+str(open('a','w'))+'\n[formatter_b]\ndefaults=f()\n"
    )
    marked = {entry.place for entry in audit_logging("a.conf", put_in) if entry.problems}
    assert marked == {"handler_a::args", "formatter_b::defaults"}
