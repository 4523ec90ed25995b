# SPDX-License-Identifier: Apache-2.0
"""The notebook docs/quickstart.ipynb: committed without outputs, and executed, with smaller scans and one epoch."""

from __future__ import annotations

import re

import pytest
from conftest import REPOSITORY

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install '.[notebook]'")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install '.[notebook]'")

FILE = REPOSITORY / "docs" / "quickstart.ipynb"
WEIGHTS = REPOSITORY / "bundles" / "universal_model_pretraining" / "models" / "model.pt"


@pytest.fixture
def notebook():
    return nbformat.read(FILE, as_version=4)


def test_it_is_committed_without_outputs(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_its_links_lead_somewhere(notebook):
    links = [link for cell in notebook.cells for link in re.findall(r"\]\((?!https?://)([^)#]+)", cell.source)]
    assert links
    assert [link for link in links if not (FILE.parent / link).exists()] == []


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"{WEIGHTS.name} of the pre-training bundle is not there")
def test_it_runs_to_its_end_with_three_pictures(notebook, tmp_path, monkeypatch):
    for name, value in (("OUTPUT", tmp_path), ("EPOCHS", 1), ("SIDE", 32)):
        monkeypatch.setenv(f"QUICKSTART_{name}", str(value))
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FILE.parent)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "weights from" in printed
    assert "8 of 8 rows written" in printed
