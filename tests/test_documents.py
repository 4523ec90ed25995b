# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
from conftest import REPOSITORY

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bundles/universal_model_pretraining/docs/README.md"]
DOCUMENTS += sorted(f"docs/{file.name}" for file in (REPOSITORY / "docs").glob("*.md"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_somewhere(document):
    file = REPOSITORY / document
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", file.read_text()):
        assert (file.parent / target).exists(), f"{document} links to {target}"


def test_keys_that_the_bundles_readme_names_exist():
    folder = REPOSITORY / "bundles" / "universal_model_pretraining"
    configs = "".join(file.read_text() for file in (folder / "configs").glob("*.json"))
    named = set(re.findall(r"`--([a-z_]+)", (folder / "docs" / "README.md").read_text()))
    for key in named - {"bundle_root", "tracking"}:
        assert f'"{key}"' in configs, key
