# SPDX-License-Identifier: Apache-2.0
"""How each command takes a scan, a mask, a datalist, candidates, a store or weights: what it says of a bad one.

A way in is a function of what is bad and a folder to work in; it returns the line that a user sees, without running a
network. `WAYS` has them by group and command.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bad_files import FEATURES, SHAPE
from conftest import REPOSITORY
from monai.bundle import ConfigParser
from monai.data import Dataset
from scan_files import body, write_scan

from universal_model_components.commands.pretraining_checks import check_store
from universal_model_components.commands.weights import inspect
from universal_model_components.cubes.cases import prepare_case
from universal_model_components.cubes.recipe import make_recipe
from universal_model_components.cubes.store import CubeDataset, cube_records, open_store
from universal_model_components.datalists.inspection import inspect_file
from universal_model_components.datalists.leakage import read_members
from universal_model_components.datalists.reader import read_datalist
from universal_model_components.imaging.unusable import refusal
from universal_model_components.inference.inputs import list_candidates, list_scans
from universal_model_components.inference.runner import ScanLoader
from universal_model_components.method.models import SegmentationModel
from universal_model_components.tasks.checks import check_cases, check_datalist
from universal_model_components.tasks.classification_checks import check_candidates
from universal_model_components.tasks.empty_masks import with_foreground
from universal_model_components.tasks.findings import ERROR, FINE, Finding
from universal_model_components.tasks.scan_cache import ScanCache
from universal_model_components.tasks.segmentation_data import CaseDataset, read_cases
from universal_model_components.utils.errors import USER_ERRORS, user_error
from universal_model_components.weights.loading import load_pretrained
from universal_model_components.weights.strict import load_weights

Way = Callable[[Any, Path], str | None]
TASK = "left_atrium_ct_segmentation"


def line_of(call: Callable[[], Any]) -> str | None:
    """Return the one line of the error that a call raises, None when it raises none."""
    try:
        call()
    except (RuntimeError, *USER_ERRORS) as error:
        return user_error(error)
    return None


def first(findings: Iterable[Finding]) -> str | None:
    """Return the first error among the findings of `doctor`, or else its first warning."""
    found = [finding for finding in findings if finding.level != FINE]
    return min(found, key=lambda finding: finding.level != ERROR).message if found else None


@functools.cache
def transforms(config: str, key: str) -> Any:
    """Return transforms of the committed bundle, small enough for small scans."""
    parser = ConfigParser()
    parser.read_config(str(REPOSITORY / f"bundles/{TASK}/configs/{config}.json"))
    parser.update({"patch_size": [8, 8, 8], "spacing": [2.0, 2.0, 2.0], "label_values": None})
    return parser.get_parsed_content(key)


def case_of(file: Path, folder: Path, key: str) -> dict[str, str]:
    """Return a case with a file as its image or its label, and a good one as the other."""
    image = write_scan(folder / "other_image.nii.gz", body(SHAPE), 1.0)
    mask = write_scan(folder / "other_mask.nii.gz", (body(SHAPE) > 0).astype("uint8"), 1.0)
    return {"case": "a", "image": str(image), "label": str(mask), "modality": "ct", key: str(file)}


def datalist_of(case: dict[str, Any], folder: Path) -> Path:
    (folder / "list.json").write_text(json.dumps({"training": [case], "validation": [{**case, "case": "b"}]}))
    return folder / "list.json"


def train(key: str) -> Way:
    def way(file: Path, folder: Path) -> str | None:
        case = case_of(file, folder, key)
        datalist = datalist_of(case, folder)

        def run() -> None:
            check_cases(datalist, folder)
            cases = with_foreground(read_cases(datalist, folder, "training"))
            CaseDataset(cases, transforms("train", "train::preprocessing"), num_workers=2)

        return line_of(run)

    return way


def evaluate(key: str) -> Way:
    def way(file: Path, folder: Path) -> str | None:
        cases = read_cases(datalist_of(case_of(file, folder, key), folder), folder, "training", check_files=False)
        loader = ScanLoader(Dataset(cases, transforms("train", "validate::preprocessing")))
        assert list(loader) == []
        return loader.problems[0].reason

    return way


def doctor(key: str) -> Way:
    def way(file: Path, folder: Path) -> str | None:
        findings = check_datalist(datalist_of(case_of(file, folder, key), folder), folder, voxels=True)
        return first(findings)

    return way


def infer(file: Path, folder: Path) -> str | None:
    (folder / "list.json").write_text(json.dumps({"test": [{"image": str(file)}]}))
    loader = ScanLoader(
        Dataset(list_scans(folder, folder / "list.json", "test"), transforms("inference", "preprocessing"))
    )
    assert list(loader) == []
    return loader.problems[0].reason


def prepare(file: Path, folder: Path) -> str | None:
    recipe = make_recipe({"patch_size": [8, 8, 8]}, ["ct"])
    return prepare_case({"case": "a", "set": "s", "modality": "ct", "file": str(file)}, recipe, str(folder))["problem"]


def classify(file: Path, folder: Path) -> str | None:
    return line_of(lambda: ScanCache(str(folder / "cache")).prepare([{"image": str(file), "case": "a", "label": 1}]))


def evaluate_classes(file: Path, folder: Path) -> str | None:
    unusable = ScanCache(str(folder / "cache")).try_to_prepare([{"image": str(file), "case": "a", "label": 1}])
    return str(refusal(unusable, 1)) if unusable else None


def _store(split: str) -> Way:
    def way(store: Path, folder: Path) -> str | None:
        def read() -> None:
            data = CubeDataset(cube_records(str(store), split, ["ct"]), [8, 8, 8])
            data[0]

        return line_of(read)

    return way


def _doctor_store(store: Path, folder: Path) -> str | None:
    return first(check_store(store, ["ct"]))


def _list(split: str, **options: Any) -> Way:
    return lambda file, folder: line_of(lambda: read_cases(file, folder, split, **options))


def _prepare_list(file: Path, folder: Path) -> str | None:
    problems: list[str] = []
    return line_of(lambda: problems.extend(read_datalist(file, ["ct"])[1])) or next(iter(problems), None)


def _candidates(file: Path, folder: Path) -> str | None:
    write_scan(folder / "series.nii.gz", body(SHAPE))
    listed = {"datalist": str(file)} if file.suffix == ".json" else {"candidates": str(file)}
    return line_of(lambda: list_candidates(str(folder), **listed))


def _doctor_candidates(file: Path, folder: Path) -> str | None:
    write_scan(folder / "series.nii.gz", body(SHAPE))
    return first(check_candidates(file, folder))


def _network() -> SegmentationModel:
    return SegmentationModel(features=FEATURES)


WAYS: dict[str, dict[str, Way]] = {
    "scan": {
        "prepare": prepare,
        "datalist": lambda file, folder: inspect_file({"file": str(file), "kind": "image"})["problem"],
        "train (segmentation)": train("image"),
        "train (classification)": classify,
        "evaluate (segmentation)": evaluate("image"),
        "evaluate (classification)": evaluate_classes,
        "inference": infer,
        "doctor": doctor("image"),
    },
    "mask": {
        "datalist": lambda file, folder: inspect_file({"file": str(file), "kind": "mask"})["problem"],
        "train": train("label"),
        "evaluate": evaluate("label"),
        "doctor": doctor("label"),
    },
    "datalist": {
        "prepare": _prepare_list,
        "train": lambda file, folder: line_of(
            lambda: [check_cases(file, folder), read_cases(file, folder, "training")]
        ),
        "evaluate": _list("test", check_files=False),
        "inference": lambda file, folder: line_of(lambda: list_scans(folder, file, "test")),
        "doctor": lambda file, folder: first(check_datalist(file, folder)),
        "datalist check": lambda file, folder: line_of(lambda: read_members(file, folder)),
    },
    "candidates": {"inference": _candidates, "doctor": _doctor_candidates},
    "store": {
        "train": _store("training"),
        "evaluate": _store("validation"),
        "doctor": _doctor_store,
        "prepare": lambda store, folder: line_of(
            lambda: open_store(store, make_recipe({"patch_size": [8, 8, 8]}, ["ct"]).to_dict())
        ),
    },
    "weights": {
        "train": lambda file, folder: line_of(lambda: load_pretrained(_network(), file)),
        "evaluate": lambda file, folder: line_of(lambda: load_weights(_network(), file)),
        "inference": lambda file, folder: line_of(lambda: load_weights(_network(), file)),
        "weights inspect": lambda file, folder: line_of(lambda: inspect(str(file))),
    },
}
