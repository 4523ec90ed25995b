# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import re

import pytest
from conftest import REPOSITORY

from universal_model_components.commands.datalist import DATALIST

BUNDLE_README = "bundles/universal_model_pretraining/docs/README.md"
FOLDERS = (".", "docs", "bundles/*/docs")
DOCUMENTS = sorted(
    str(file.relative_to(REPOSITORY)) for folder in FOLDERS for file in REPOSITORY.glob(f"{folder}/*.md")
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_somewhere(document):
    file = REPOSITORY / document
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", file.read_text()):
        assert (file.parent / target).exists(), f"{document} links to {target}"


def test_keys_that_the_bundles_readme_names_exist():
    folder = REPOSITORY / "bundles" / "universal_model_pretraining"
    configs = "".join(file.read_text() for file in (folder / "configs").glob("*.json"))
    named = set(re.findall(r"`--([a-z_]+)", (folder / "docs" / "README.md").read_text()))
    for key in named - {"bundle_root", "tracking", "allow_partial"}:
        assert f'"{key}"' in configs, key


@pytest.mark.parametrize("document", ["docs/datalists.md", "README.md"])
def test_datalist_commands_of_the_documents_exist_with_their_options(document):
    commands = re.findall(r"universal_model_components datalist (\w+)(.*)", (REPOSITORY / document).read_text())
    assert {"brats2018", "folder", "check"} <= {name for name, _ in commands}
    for name, rest in commands:
        if name != "NAME":
            options = set(re.findall(r"--([a-z_]+)", rest))
            assert options <= set(inspect.signature(DATALIST[name]).parameters), (name, options)
