# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import pytest
from config_layout import USER_KEYS, lay_out
from conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "render_bundles.py"


@pytest.fixture(scope="module")
def renderer():
    spec = importlib.util.spec_from_file_location("render_bundles", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_bundles_are_what_the_parts_make():
    result = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_a_stale_file_is_named(renderer, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(renderer, "BUNDLES", tmp_path)
    monkeypatch.setattr(renderer, "REPOSITORY", tmp_path)
    (tmp_path / "universal_model_components").mkdir()
    for name in ("LICENSE", "universal_model_components/__init__.py"):
        (tmp_path / name).write_text((REPOSITORY / name).read_text())
    assert renderer.main([]) == 0
    assert renderer.main(["--check"]) == 0
    stale = tmp_path / "brats_mri_whole_tumor_segmentation" / "configs" / "train.json"
    stale.write_text("{}")
    capsys.readouterr()
    assert renderer.main(["--check"]) == 1
    assert capsys.readouterr().out.strip().endswith("brats_mri_whole_tumor_segmentation/configs/train.json")
    assert stale.read_text() == "{}"


@pytest.mark.parametrize(
    ("base", "part", "expected"),
    [
        [{"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}],
        [{"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}],
        [{"a": {"_target_": "A", "x": 1}}, {"a": {"_target_": "B"}}, {"a": {"_target_": "B"}}],
        [{"a": [1]}, {"+a": [2]}, {"a": [1, 2]}],
        [{"a": [{"x": 1}, {"x": 2}]}, {"a::1::x": 5}, {"a": [{"x": 1}, {"x": 5}]}],
        [{"a": [{"x": {"m": 1}}]}, {"a::0::x": {"n": 2}}, {"a": [{"x": {"m": 1, "n": 2}}]}],
        [{"a": {"b": 1}}, {"a::b": None}, {"a": {"b": None}}],
    ],
)
def test_overlay(renderer, base, part, expected):
    before = json.dumps(base)
    assert renderer.overlay(base, part) == expected
    assert json.dumps(base) == before


def test_what_no_part_fills_is_an_error(renderer, monkeypatch, tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "train.json").write_text('{"a": {"b": "<part>"}}')
    monkeypatch.setattr(renderer, "PARTS", tmp_path)
    with pytest.raises(SystemExit, match=r"nothing fills \['a::b'\]"):
        renderer.render_config("train", "a_task", "segmentation", {})


def test_no_file_of_a_task_bundle_refers_to_another(renderer):
    for file, text in renderer.render().items():
        if file.suffix == ".json":
            assert '"%' not in text, file
            assert not re.search(r'"@[^"]*\.json', text), file
            assert renderer.TO_FILL not in text, file


COMPLETE = sorted(
    file for name in ("train", "inference", "prepare") for file in REPOSITORY.glob(f"bundles/*/configs/{name}.json")
)


@pytest.mark.parametrize("file", COMPLETE, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_what_users_set_stands_first_in_the_same_order(file):
    config = json.loads(file.read_text())
    keys = [key for key in config if key != "imports"]
    of_users = [key for key in USER_KEYS if key in config]
    assert keys[: len(of_users)] == of_users
    built = {key: value for key, value in config.items() if key not in of_users}
    assert [key for key, value in built.items() if not _is_built(value)] == []
    settings = config.get("settings", {})
    assert list(settings) == [key for key in of_users if key in settings]
    assert all(value in (f"@{key}", f"$@recipe['{key}']") for key, value in settings.items())


def _is_built(value):
    """Whether a value refers to others, or makes something of them."""
    if isinstance(value, str):
        return value.startswith(("@", "$"))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, dict) and "_target_" in value) or any(map(_is_built, items))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        [{}, "{}"],
        [
            {"a": [1, 2], "b": {"_target_": "C", "x": None}},
            '{\n    "a": [1, 2],\n    "b": {"_target_": "C", "x": null}\n}',
        ],
        [[[1, [2]]], "[\n    [1, [2]]\n]"],
        [["a" * 60, "b" * 60], f'[\n    "{"a" * 60}",\n    "{"b" * 60}"\n]'],
    ],
)
def test_plain_values_are_laid_out_on_one_line(value, text):
    assert lay_out(value) == text
    assert json.loads(text) == value
