# SPDX-License-Identifier: Apache-2.0
"""The auditor: the project's bundles pass, hostile ones are marked, and nothing of either is run or imported."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest
from hostile_bundles import HOSTILE, write_bundle
from task_bundles import BUNDLES
from user_errors import raises_user_error

from universal_model_components.auditing.bundles import audit_bundle
from universal_model_components.auditing.entries import Entry
from universal_model_components.utils.archives import write_zip


def marked(bundle) -> list[Entry]:
    return [entry for entry in audit_bundle(bundle) if entry.problems]


@pytest.mark.parametrize("name", BUNDLES)
def test_each_bundle_of_the_project_passes_with_everything_listed(name, bundles):
    entries = audit_bundle(bundles / name)
    assert [str(entry) for entry in entries if entry.problems] == []
    configs = sorted((bundles / name / "configs").rglob("*.json"))
    texts = [file.read_text(encoding="utf-8") for file in configs]
    targets = sum(text.count('"_target_"') + text.count('::_target_"') for text in texts)
    by_name = sum(len(re.findall(r'"(?:reader|writer)": "(?![$@])', text)) for text in texts)
    logging_targets = 1
    assert sum(entry.kind == "target" for entry in entries) == targets + by_name + logging_targets
    expressions = sum(text.count('"$') for text in texts)
    assert sum(entry.kind in ("expression", "import") for entry in entries) == expressions + logging_targets


def test_a_harmless_bundle_passes(tmp_path):
    assert [str(entry) for entry in marked(write_bundle(tmp_path / "bundle"))] == []


def test_scans_in_a_bundles_folder_are_data(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    for name, count in (("scan.nii.gz", 0), ("scans.tar.gz", 1)):
        (bundle / name).write_bytes(b"\x1f\x8b")
        assert len(marked(bundle)) == count


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_is_marked(name, tmp_path):
    overlay, reason = HOSTILE[name]
    found = marked(write_bundle(tmp_path / "bundle", overlay))
    assert {entry.file for entry in found} == {"configs/overlay.json"}
    assert any(reason in problem for entry in found for problem in entry.problems), [str(entry) for entry in found]


def test_nothing_is_run_or_imported(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    overlay = {
        "imports": ["$import evil_module", f"$open({str(seen)!r}, 'w')"],
        "a": {"_target_": "evil_module.run"},
        "b": {"_target_": "builtins.open", "file": str(seen), "mode": "w"},
    }
    bundle = write_bundle(tmp_path / "bundle", overlay, evil_module__py=b"")
    (bundle / "evil_module.py").write_text(f"open({str(seen)!r}, 'w')")
    monkeypatch.syspath_prepend(str(bundle))
    places = [entry.place for entry in marked(bundle)]
    assert places == ["imports::0", "imports::1", "a::_target_", "b::_target_", ""]  # the last is evil_module.py
    assert not seen.exists()
    assert "evil_module" not in sys.modules


def test_an_import_of_one_config_is_known_in_the_others(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", {"x": "$lib.fork()"})
    (bundle / "configs" / "first.yaml").write_text("imports: ['$import os as lib']\n")
    assert [entry.problems for entry in marked(bundle)] == [("os.fork: not of the harmless part of Python",)]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ["configs/a.json", "{", "cannot be read"],
        ["configs/a.json", '{"a": 1, "a": 2}', "the key 'a' is there twice"],
        ["configs/a.json", "[" * 100_000, "cannot be read"],
        ["configs/a.yaml", "a: 1\na: 2\n", "the key 'a' is there twice"],
        ["configs/a.yml", "a: !!python/object/apply:os.system ['id']\n", "cannot be read"],
        ["configs/a.yaml", "x: {_target_: os.system}\n", "os.system: not of"],
        ["scripts/a.py", "", "code, which the audit does not read"],
        ["run", "#!/bin/sh\n", "code, which the audit does not read"],
        ["models/a.tar", "", "an archive, which the audit does not open"],
        ["models/model.pt", "<!DOCTYPE html>", "a web page or a pointer"],
        [
            "large_files.yml",
            "large_files:\n- {path: ../a.pt, url: 'https://a', hash_val: a, hash_type: b}\n",
            "outside",
        ],
        ["large_files.yml", "large_files:\n- {path: a.pt, url: 'http://a', hash_val: a, hash_type: b}\n", "not https"],
        ["large_files.yml", "large_files:\n- {path: a.pt, url: 'https://a'}\n", "no hash"],
        ["configs/logging.conf", "[handler_a]\nclass=__import__('os').system\n", "runs code"],
        ["configs/logging.conf", "[handler_a]\nclass=StreamHandler\nargs=(print(1),)\n", "not a constant"],
        ["configs/logging.conf", "[formatter_a]\nclass=evil.Formatter\n", "runs code"],
        ["configs/logging.conf", "class=1", "cannot be read"],
    ],
)
def test_other_files_are_marked(name, text, reason, tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text(text)
    (entry,) = marked(bundle)
    assert entry.file == name
    assert reason in str(entry)


def test_a_link_out_of_the_folder_is_marked_and_not_followed(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "secret.json").write_text("{")
    os.symlink(tmp_path / "secret.json", bundle / "configs" / "more.json")
    os.symlink("inference.json", bundle / "configs" / "same.json")
    assert [(entry.file, entry.problems) for entry in marked(bundle)] == [
        ("configs/more.json", ("a link out of the bundle",))
    ]


def test_a_zip_is_read_as_its_folder_is(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", HOSTILE["system"][0])
    members = {f"name/{file.relative_to(bundle)}": file.read_bytes() for file in bundle.rglob("*") if file.is_file()}
    write_zip(tmp_path / "bundle.zip", members)
    folder, archive = audit_bundle(bundle), audit_bundle(tmp_path / "bundle.zip")
    assert [str(entry) for entry in folder] == [str(entry) for entry in archive]
    assert [f"name/{entry.file}" for entry in folder] == [entry.file for entry in archive]


def test_what_is_no_bundle_is_one_line(tmp_path):
    with raises_user_error("no such file: give a zipped bundle"):
        audit_bundle(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with raises_user_error("bundle: .*empty has no folder configs"):
        audit_bundle(tmp_path / "empty")
    (tmp_path / "a.zip").write_text(json.dumps({}))
    with raises_user_error("not a whole zip file"):
        audit_bundle(tmp_path / "a.zip")
