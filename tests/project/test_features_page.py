# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/features.md, run as they stand."""

from __future__ import annotations

import re
import shlex

import fire
import pytest
import torch
from conftest import REPOSITORY
from scan_files import body, write_datalist, write_scan

from universal_model_components.__main__ import COMMANDS, later, run
from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.provenance import complete, write_weights

PAGE = (REPOSITORY / "docs/features.md").read_text(encoding="utf-8")
PROGRAM = "python -m universal_model_components "
LINES = re.findall(rf"^{PROGRAM}(?:.*\\\n)*.*", PAGE, flags=re.MULTILINE)
TABLE = re.search(r"```\n(image,.*?)```", PAGE, flags=re.DOTALL)[1]
FEATURES = [4, 8, 16, 32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader would stand: scans, a datalist, a table of points, weights with and without a provenance."""
    folder = tmp_path_factory.mktemp("features_page")
    for name in ("ct/chest", "mri/head"):
        write_scan(folder / "SCANS" / f"{name}.nii.gz", body((30, 30, 20), name.split("/")[0]), 2.0)
    (folder / "LISTS").mkdir()
    write_datalist(folder / "LISTS", folder / "SCANS").rename(folder / "LISTS" / "mine.json")
    (folder / "points.csv").write_text(TABLE.replace("ct/", "SCANS/ct/"))
    state = UniversalModel(features=FEATURES).state_dict()
    recipe = {"spacing": [2, 2, 2], "patch_size": [16, 16, 8], "intensity_scale": {"ct": "range", "mri": "volume"}}
    recipe |= {"intensity_range": {"ct": [-1000, 1000], "mri": [0, 4000]}}
    (folder / "WORK/models").mkdir(parents=True)
    write_weights(folder / "WORK/models/model.pt", state, complete(recipe, state))
    torch.save(state, folder / "plain.pt")
    return folder


def test_page_has_its_five_commands():
    assert len(LINES) == 5


@pytest.mark.parametrize("line", LINES)
def test_command_writes_its_table(line, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = shlex.split(line.replace("\\\n", " ").removeprefix(PROGRAM))
    if words[words.index("--output") + 1].endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    more = ["--num_workers", "0", "--device", "cpu"]
    fire.Fire(later(COMMANDS), command=[*words, *more], name="test", serialize=run)
    assert (folder / words[words.index("--output") + 1]).is_file()
    printed = capsys.readouterr().out
    assert re.search(r"\d+ of 60 features never vary", printed) or "--output chest.csv" in line
    total = {"points.csv": 3, "SCANS/ct": 1, "SCANS/ct/chest.nii.gz": 1}.get(words[1], 2)
    assert f"{total} of {total} rows written to" in printed
