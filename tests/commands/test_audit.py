# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import fire
from conftest import REPOSITORY
from hostile_bundles import HOSTILE, write_bundle
from user_errors import raises_user_error

from universal_model_components.__main__ import COMMANDS, later, run
from universal_model_components.commands.audit import audit


def test_every_entry_is_printed_and_a_marked_one_is_an_error(tmp_path, capsys):
    audit(str(write_bundle(tmp_path / "good")))
    printed = capsys.readouterr().out
    assert "configs/inference.json\n  import     imports::0: $import torch\n" in printed
    assert "  target     network::_target_: UNet\n" in printed
    assert printed.endswith(f"{tmp_path / 'good'}: nothing marked\n")
    bundle = write_bundle(tmp_path / "bad", HOSTILE["system"][0])
    with raises_user_error(r"audit: 1 of \d+ entries of .*bad are marked by ! above"):
        audit(str(bundle))
    printed = capsys.readouterr().out
    assert "! expression run::0: $os.system('id')  <- os.system: not of the harmless part of Python\n" in printed


def test_the_commands_of_the_documents_pass_a_bundle(bundles, monkeypatch, capsys):
    monkeypatch.chdir(bundles)
    for document in ("README.md", "docs/audit.md"):
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        (command,) = re.findall(r"universal_model_components (audit BUNDLE)", text)
        words = command.replace("BUNDLE", "left_atrium_ct_segmentation").split()
        fire.Fire(later(COMMANDS), command=words, name="test", serialize=run)
        assert "nothing marked" in capsys.readouterr().out


def test_the_example_of_the_document_is_what_is_printed(tmp_path, capsys):
    text = (REPOSITORY / "docs/audit.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^! expression run::0: (\S+) .*$", text, flags=re.MULTILINE)
    shown = next(one for one in text.splitlines() if one.startswith("! expression"))
    with raises_user_error("1 of"):
        audit(str(write_bundle(tmp_path / "bundle", {"run": [line]})))
    assert shown in capsys.readouterr().out
