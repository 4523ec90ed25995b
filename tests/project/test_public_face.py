# SPDX-License-Identifier: Apache-2.0
"""The names `universal_model_components.<Name>`: they resolve, are documented, and are what JSON and users name."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from monai.bundle import ConfigParser

import universal_model_components as umc

JSON = [
    *REPOSITORY.glob("bundles/*/configs/*.json"),
    *REPOSITORY.glob("scripts/bundle_parts/**/*.json"),
]
DOCUMENTS = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("docs/**/*.py")]
DOCUMENTS += REPOSITORY.glob("bundles/*/docs/README.md")
NAMED_IN_JSON = {
    name
    for file in JSON
    for name in re.findall(r"\b(?:umc|universal_model_components)\.([A-Za-z_]\w*)", file.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("name", umc.__all__)
def test_a_public_name_is_where_the_table_says_and_has_a_docstring(name: str):
    found = getattr(umc, name)
    module = importlib.import_module(f"{umc.__name__}.{umc._MODULE_OF[name]}")
    assert found is getattr(module, name)
    assert found.__module__ == module.__name__, "defined elsewhere: name that module in the table"
    assert inspect.getdoc(found)


def test_every_name_in_json_is_public():
    assert NAMED_IN_JSON, "no config names any component"
    assert set(umc.__all__) >= NAMED_IN_JSON


def test_every_public_name_is_named_by_a_config_or_a_document():
    documents = "\n".join(file.read_text(encoding="utf-8") for file in DOCUMENTS)
    unnamed = [
        name
        for name in sorted(set(umc.__all__) - NAMED_IN_JSON)
        if not re.search(rf"`(?:universal_model_components\.|umc\.)?{name}[`(]|import [\w, ]*\b{name}\b", documents)
    ]
    assert not unnamed


def test_dir_lists_the_public_names():
    assert set(umc.__all__) | {"__version__"} <= set(dir(umc))


def test_an_unknown_name_is_an_attribute_error_of_one_line():
    with pytest.raises(AttributeError, match=r"^module 'universal_model_components' has no attribute 'UNot'$"):
        umc.UNot  # noqa: B018
    assert not hasattr(umc, "method_of_no_package")


def test_a_name_is_imported_when_it_is_first_used():
    program = (
        "import sys, universal_model_components as umc\n"
        "name = 'universal_model_components.utils.settings'\n"
        "assert name not in sys.modules\n"
        "assert umc.to_bool('false', 'key') is False and name in sys.modules and 'to_bool' in vars(umc)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_monais_parser_resolves_public_names():
    parser = ConfigParser(
        {
            "imports": ["$import universal_model_components as umc"],
            "network": {"_target_": "universal_model_components.UNet", "features": [4, 8]},
            "resume": "$umc.to_bool('false', 'resume')",
        }
    )
    assert type(parser.get_parsed_content("network")) is umc.UNet
    assert parser.get_parsed_content("resume") is False
