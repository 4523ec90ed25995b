# SPDX-License-Identifier: Apache-2.0
"""Which package imports which: CONTRIBUTING.md's table holds for every import, also those inside functions."""

from __future__ import annotations

import ast
import graphlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "universal_model_components"
FILES = sorted(PACKAGE.rglob("*.py"))
ALL = "all"


def read_table() -> dict[str, list[str]]:
    """Package → what it may import, as CONTRIBUTING.md shows it."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = text.split("| package | what is in it | may import |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    rows = [line.strip("|").split("|") for line in lines.splitlines()]
    return {
        package.strip(" `"): [ALL] if allowed.strip() == ALL else re.findall(r"`([\w.]+)`", allowed)
        for package, _, allowed in rows
    }


TABLE = read_table()


def module_name(file: Path) -> str:
    """Dotted name within the package: "imaging.reading"; a package's own `__init__` is the package."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file) for file in FILES}


def package_of(module: str) -> str:
    """The row of the table that a module is in: the longest name that it begins with; "" is the package itself."""
    rows = [row for row in TABLE if module == row or module.startswith(row + ".")]
    return max(rows, key=len, default="")


def imports(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Full names of whatever a module imports, of ours as "universal_model_components.imaging.reading"."""
    here = [PACKAGE.name, *([part for part in module.split(".") if part])]
    above = here if is_package else here[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = above[: len(above) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{name.name}" for name in node.names)


def own_imports(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Modules of ours that a module imports, by their names within the package."""
    for name in imports(source, module, is_package):
        first, _, rest = name.partition(".")
        if first != PACKAGE.name:
            continue
        if rest in MODULES:
            yield rest
        elif rest != "__version__":  # the version is everyone's
            yield rest.rpartition(".")[0]


def may_import(module: str, target: str) -> bool:
    own, other = package_of(module), package_of(target)
    allowed = TABLE.get(own, [ALL] if module == "__main__" else [])
    return own == other != "" or allowed == [ALL] or other in allowed or target in allowed


def test_the_table_names_every_package():
    folders = {module_name(file) for file in FILES if file.name == "__init__.py"} - {""}
    assert set(TABLE) == folders
    entries = {entry for allowed in TABLE.values() for entry in allowed} - {ALL}
    assert entries <= MODULES


def test_imports_follow_the_table():
    wrong = [
        f"{module_name(file)} imports {target}"
        for file in FILES
        for target in own_imports(file.read_text(encoding="utf-8"), module_name(file), file.name == "__init__.py")
        if not may_import(module_name(file), target)
    ]
    assert not wrong, "not in CONTRIBUTING.md's table: " + "; ".join(wrong)


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("from ..imaging.reading import read_scan", "cubes.cases", {"imaging.reading"}),
        ("from ..imaging import reading", "cubes.cases", {"imaging.reading"}),
        ("from . import page as html", "figures.report", {"figures.page"}),
        ("from .. import __version__", "cubes.cases", set()),
        ("from ...tasks.candidates import outside", "datalists.public.luna2016", {"tasks.candidates"}),
        ("import universal_model_components.figures.page", "cubes.cases", {"figures.page"}),
        ("def f():\n    from universal_model_components.figures import page", "cubes.cases", {"figures.page"}),
        ("if TYPE_CHECKING:\n    from ..figures.page import text", "cubes.cases", {"figures.page"}),
        ("from universal_model_components import UNet", "cubes.cases", {""}),
    ],
)
def test_every_form_of_import_is_seen(source: str, module: str, expected: set[str]):
    assert set(own_imports(source, module)) == expected


def test_what_the_table_forbids():
    assert not may_import("utils.files", "cubes.recipe")
    assert not may_import("cubes.cases", "")  # the public face is for JSON and users
    assert not may_import("tasks.checks", "datalists.public.luna2016")
    assert not may_import("datalists.public.luna2016", "tasks.scan_cache")
    assert may_import("datalists.public.luna2016", "tasks.candidates")
    assert may_import("commands.demo", "figures.report")


def test_packages_form_no_cycle():
    graph = {package: {package_of(entry) for entry in allowed} - {""} for package, allowed in TABLE.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("method") < order.index("inference")


def test_nothing_imports_scripts_bundles_or_tests():
    others = {"bundles", "scripts", "tests", "benchmarks", *(path.stem for path in REPOSITORY.glob("scripts/*.py"))}
    wrong = [
        f"{module_name(file)} imports {name}"
        for file in FILES
        for name in imports(file.read_text(encoding="utf-8"), module_name(file), file.name == "__init__.py")
        if name.split(".")[0] in others
    ]
    assert not wrong


def loaded_by(code: str, blocked: tuple[str, ...] = ()) -> set[str]:
    """Modules of ours that some code loads in a process of its own, in which `blocked` packages cannot be imported."""
    program = f"import json, sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n{code}\n"
    program += "print(json.dumps([name for name in sys.modules if name.startswith('universal_model_components.')]))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[2] for name in json.loads(result.stdout.splitlines()[-1])}


def test_importing_the_package_loads_nothing():
    assert loaded_by("import universal_model_components") == set()


@pytest.mark.parametrize("task", ["brats_mri_whole_tumor_segmentation", "left_atrium_ct_segmentation"])
def test_a_segmentations_training_loads_no_cubes_no_candidates_and_no_matplotlib(bundles, task):
    text = (bundles / task / "configs" / "train.json").read_text()
    names = sorted(set(re.findall(r"(?:umc|universal_model_components)\.([A-Za-z]\w*)", text)))
    assert "CaseDataset" in names
    code = f"import universal_model_components as umc\nfor name in {names}:\n    getattr(umc, name)"
    # MONAI imports matplotlib where it can, so sys.modules proves nothing: here it cannot
    loaded = loaded_by(code, blocked=("matplotlib", "dask", "distributed"))
    assert "tasks.segmentation_data" in loaded
    assert not {name for name in loaded if name.split(".")[0] == "cubes" or name == "tasks.candidates"}


def test_preparation_workers_load_no_matplotlib():
    loaded = loaded_by(
        "import universal_model_components.cubes.cases",
        blocked=("matplotlib", "torch.utils.tensorboard", "sklearn", "distributed"),
    )
    assert not {name for name in loaded if name.split(".")[0] in ("figures", "evaluation", "training")}


def test_matplotlib_is_imported_in_one_place():
    found = {
        module_name(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for name in imports(ast.unparse(node), module_name(file))
        if name.split(".")[0] == "matplotlib"
    }
    assert found == {"figures.style"}
    at_import = {module_name(file) for file in FILES for name in _at_import(file) if name.startswith("matplotlib")}
    assert not at_import


def _at_import(file: Path) -> Iterator[str]:
    """What a module imports when it is imported: not within functions, not for type checkers alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(ast.unparse(node), module_name(file), file.name == "__init__.py")
