# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json

import pytest

from universal_model_components.weights.large_files import file_hash, listed_entry, read_large_files

ENTRY = {"path": "models/model.pt", "url": "https://example.org/model.pt", "hash_val": "0" * 64, "hash_type": "sha256"}


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "bundle" / "models").mkdir(parents=True)
    (tmp_path / "bundle" / "large_files.yml").write_text(json.dumps({"large_files": [ENTRY]}))  # JSON is YAML too
    (tmp_path / "bundle" / "models" / "model.pt").write_bytes(b"weights" * 1000)
    return tmp_path / "bundle"


def test_a_bundles_list_is_read(bundle, tmp_path):
    assert [entry["path"] for entry in read_large_files(bundle)] == ["models/model.pt"]
    with pytest.raises(FileNotFoundError, match=r"no large_files\.yml: give a bundle's folder"):
        read_large_files(tmp_path)
    (bundle / "large_files.yml").write_text("large: []")
    with pytest.raises(ValueError, match=r"large_files\.yml: no list `large_files` \(KeyError\)"):
        read_large_files(bundle)


def test_a_file_finds_its_entry(bundle, tmp_path):
    assert listed_entry(bundle / "models" / "model.pt")["url"] == ENTRY["url"]
    assert listed_entry(bundle / "models" / "other.pt") is None
    assert listed_entry(tmp_path / "elsewhere.pt") is None


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_the_hash_is_of_the_files_bytes(bundle, kind):
    content = (bundle / "models" / "model.pt").read_bytes()
    assert file_hash(bundle / "models" / "model.pt", kind) == hashlib.new(kind, content).hexdigest()
