# SPDX-License-Identifier: Apache-2.0
"""What the Model Zoo's continuous integration asks of a bundle, as one list of what is wrong with it.

`python tests/integration/zoo.py BUNDLE …` prints the list of each and exits non-zero when there is any. A bundle
without `models/model.pt` (ours release none) is checked as a copy that holds the network's own first weights.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from jsonschema import Draft202012Validator
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties

from universal_model_components.weights.loading import read_weights

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this file is a script, too
from integration.copies import open_bundle, with_weights

NECESSARY_FILES = ("LICENSE", "configs/metadata.json")
PREFERRED_FILES = ("models/model.pt", "configs/inference.json", "docs/README.md", "docs/data_license.txt")
NECESSARY_KEYS = [
    "version",
    "changelog",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
]
PREFERRED_KEYS = [
    "name",
    "schema",
    "data_source",
    "data_type",
    "image_classes",
    "label_classes",
    "pred_classes",
    "intended_use",
    "references",
]
INFERENCE_KEYS = [
    "bundle_root",
    "device",
    "network_def",
    "inferer",
    "preprocessing",
    "postprocessing",
    "dataset",
    "evaluator",
]
TRAIN_KEYS = [
    "network",
    "network_def",
    "train::dataset::data",
    "train::trainer::max_epochs",
    "validate::evaluator",
]
LINTERS = (  # the zoo's own settings
    ("black", "--check", "--quiet", "--line-length", "120", "--skip-magic-trailing-comma"),
    ("isort", "--check-only", "--quiet", "--profile", "black", "--line-length", "120"),
    ("flake8", "--max-line-length", "120", "--select", "B,C,E,F,N,P,T4,W,B9")
    + ("--ignore", "E203,E501,E741,W503,W504,C408,N812,B023"),
)


def problems(bundle: Path, schema: Path | None = None, export: bool = True) -> list[str]:
    """Return what the zoo would refuse, one line each; nothing when the bundle conforms.

    Args:
        bundle: its folder.
        schema: file of the metadata schema; None leaves that check out, and `skipped` says so.
        export: whether TorchScript export is tried too, the slow part.
    """
    found = missing_files(bundle)
    if found:  # the other checks read these files
        return found
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    found += _metadata_problems(metadata, schema)
    for check in (_property_problems, _weight_problems, _shape_problems, *([_export_problems] if export else [])):
        found += _attempt(check, bundle)
    return found


def missing_files(bundle: Path) -> list[str]:
    """Return the zoo's files that a bundle lacks, one line each."""
    names = (*NECESSARY_FILES, *PREFERRED_FILES)
    return [f"{name}: no such file" for name in names if not (bundle / name).is_file()]


def skipped(bundle: Path, schema: Path | None, linters: str | None) -> list[str]:
    """Name what could not be checked here, and why."""
    names = [] if schema is not None and schema.is_file() else ["schema: its file is not on this machine"]
    if linters is None and any(bundle.rglob("*.py")):
        names.append("black, isort, flake8: give an interpreter that has them")
    return names


def lint_problems(bundle: Path, python: str) -> list[str]:
    """Return what black, isort and flake8 say of the Python that a bundle ships; nothing when it ships none."""
    if not any(bundle.rglob("*.py")):
        return []
    runs = [(line[0], subprocess.run([python, "-m", *line, str(bundle)], capture_output=True)) for line in LINTERS]
    return [f"{name}: {(run.stdout + run.stderr).decode().strip()[:300]}" for name, run in runs if run.returncode]


def _attempt(check: Callable[[Path], Iterator[str]], bundle: Path) -> list[str]:
    """A check that raises has found something too: MONAI's tools speak in exceptions."""
    try:
        return list(check(bundle))
    except Exception as error:
        name = check.__name__.removeprefix("_").removesuffix("_problems")
        return [f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]


def _metadata_problems(metadata: dict[str, Any], schema: Path | None) -> list[str]:
    found = [f"metadata.json: no key {key!r}" for key in (*NECESSARY_KEYS, *PREFERRED_KEYS) if key not in metadata]
    if metadata.get("version") not in metadata.get("changelog", {}):
        found.append(f"metadata.json: version {metadata.get('version')!r} is not in the changelog")
    if schema is not None and schema.is_file():
        errors = Draft202012Validator(json.loads(schema.read_text())).iter_errors(metadata)
        found += [f"schema: {error.json_path}: {error.message}" for error in errors]
    for package, wanted in metadata.get("required_packages_version", {}).items():
        if not re.fullmatch(r"\d+(\.\d+)*", wanted):
            found.append(f"required_packages_version: {package} {wanted!r} is not a version")
        try:
            version(package)
        except PackageNotFoundError:
            found.append(
                f"required_packages_version: {package} is not installed here, so the bundle was not tried with it"
            )
    return found


def _property_problems(bundle: Path) -> Iterator[str]:
    """Ids that MONAI's tools read; looked up, not built, because there is no data to build datasets of."""
    for kind, properties in (("inference", InferProperties), ("train", TrainProperties)):
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / f"{kind}.json"))
        wanted = [entry["id"] for entry in properties.values() if entry["required"]]
        wanted += INFERENCE_KEYS if kind == "inference" else TRAIN_KEYS
        yield from (f"{kind}.json: no key {key!r}" for key in dict.fromkeys(wanted) if parser.get(key) is None)
        if kind == "train" and not all(isinstance(entry, dict) for entry in parser["train::handlers"]):
            yield "train.json: train::handlers is not a list of literal dicts: MONAI Label adds an entry"


def _weight_problems(bundle: Path) -> Iterator[str]:
    state = read_weights(bundle / "models/model.pt")  # plain, with weights_only=True
    own = open_bundle(bundle).get_parsed_content("network_def").state_dict()
    yield from (f"model.pt: {name!r} is not the network's" for name in sorted(state.keys() ^ own.keys()))
    for name in own.keys() & state.keys():
        if own[name].shape != state[name].shape:
            yield f"model.pt: {name} is {list(state[name].shape)}, the network's {list(own[name].shape)}"


def _files(bundle: Path) -> dict[str, str]:
    names = {"meta_file": "metadata", "config_file": "inference"}
    return {key: str(bundle / "configs" / f"{name}.json") for key, name in names.items()}


def _shape_problems(bundle: Path) -> Iterator[str]:
    verify_net_in_out("network_def", device="cpu", bundle_root=str(bundle), **_files(bundle))
    yield from ()


def _export_problems(bundle: Path) -> Iterator[str]:
    weights, network = str(bundle / "models/model.pt"), open_bundle(bundle).get_parsed_content("network_def")
    network.load_state_dict(read_weights(weights))
    shape = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    image = torch.rand(1, shape["num_channels"], *shape["spatial_shape"], generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = f"{folder}/model.ts"
        ckpt_export("network_def", file, ckpt_file=weights, bundle_root=str(bundle), **_files(bundle))
        difference = (torch.jit.load(file).eval()(image) - network.eval()(image)).abs().max()
    if difference > 1e-5:
        yield f"model.ts: answers differ from the network's by {float(difference):.1e}"


def main(bundles: list[str], schema: str | None = None) -> int:
    """Print what is wrong with each bundle; return how many are refused."""
    refused = 0
    for bundle in map(Path, bundles):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(schema) if schema else None
            found = [line for line in missing_files(bundle) if not line.startswith("models/")]
            found = found or problems(with_weights(bundle.resolve(), Path(folder)), file)
        refused += bool(found)
        print(f"{bundle.name}: {'refused' if found else 'conforms'}", *(f"  {line}" for line in found), sep="\n")
        for line in skipped(bundle, file, None):
            print(f"  not checked: {line}")
    return refused


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
