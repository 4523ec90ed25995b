# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from universal_model_components.cubes import store
from universal_model_components.cubes.case_file import (
    ForeignCaseError,
    damage_named,
    encode_case,
    open_case,
    read_attributes,
)
from universal_model_components.cubes.cropping import Cubes
from universal_model_components.cubes.index import read_index
from universal_model_components.cubes.recipe import Recipe, recipe_id
from universal_model_components.cubes.store import (
    CubeDataset,
    case_records,
    close_store,
    cubes_identity,
    open_files,
    open_store,
)
from universal_model_components.imaging.hdf5 import LEVELS, case_file
from universal_model_components.utils.files import write_json

RECIPE = Recipe(patch_size=(8, 8, 4)).to_dict()
CASES = {"ct/a.nii": [1, 2, 3], "ct/b.nii": [2, 0, 4], "mri/a.nii": [2, 2, 0], "mri/b.nii": [1, 1, 1]}
VALIDATION = {"ct/b.nii", "mri/b.nii"}


def fill(folder, cases=CASES):
    """Make a store whose cubes are constant: cube k of case n holds the value 100 n + k."""
    open_store(folder, RECIPE)
    splits = {"training": [], "validation": []}
    for n, (case, counts) in enumerate(cases.items()):
        values = 100 * n + np.arange(sum(counts))
        cubes = np.broadcast_to(values[:, None, None, None], (len(values), 8, 8, 4)).astype(np.uint16)
        boxes, modality = np.zeros((len(values), 2, 3), np.float32), case.split("/")[0]
        attributes = {"recipe_id": recipe_id(RECIPE), "case": case, "modality": modality}
        case_file(folder, case).write_bytes(encode_case(Cubes(cubes, list(counts), boxes, 0), attributes))
        entry = {"case": case, "modality": modality, "group": case, "counts": list(counts)}
        splits["validation" if case in VALIDATION else "training"].append(entry)
    close_store(folder, {"splits": splits})
    return folder


@pytest.fixture
def cubes(tmp_path):
    return fill(tmp_path / "cubes")


def test_records_name_case_label_file_and_counts(cubes):
    records = case_records(cubes, "training", ["mri", "ct"])
    assert [(r["case"], r["label"], r["counts"], r["shape"]) for r in records] == [
        ("ct/a.nii", 1, [1, 2, 3], [8, 8, 4]),
        ("mri/a.nii", 0, [2, 2, 0], [8, 8, 4]),
    ]
    assert [r["case"] for r in case_records(cubes, "validation", ["mri"])] == ["mri/b.nii"]


def test_items(cubes):
    dataset = CubeDataset(case_records(cubes, "training", ["ct", "mri"]), [8, 8, 4])
    assert len(dataset) == 10
    assert dataset.modality_labels.tolist() == [0] * 6 + [1] * 4
    assert dataset.modality_labels.dtype == torch.int64
    assert [dataset[i]["scale"] for i in range(10)] == [0, 1, 1, 2, 2, 2, 0, 0, 1, 1]
    assert [dataset[i]["modality"] for i in range(10)] == dataset.modality_labels.tolist()
    for i, value in enumerate([0, 1, 2, 3, 4, 5, 200, 201, 202, 203]):
        image = dataset[i]["image"]
        assert image.shape == (1, 8, 8, 4)
        assert image.dtype == torch.float32
        torch.testing.assert_close(image, torch.full_like(image, value / LEVELS))
    assert (dataset[7]["seed"], dataset[7]["case"]) == (7, "mri/a.nii")
    assert dataset[7, 12345678901]["seed"] == 12345678901
    assert dataset[np.int64(7), np.int64(3)]["seed"] == 3
    for index in (10, -1):
        with pytest.raises(IndexError, match=f"cube {index} of 10"):
            dataset[index]


def test_workers_read_what_this_process_reads(cubes):
    dataset = CubeDataset(case_records(cubes, "training", ["ct", "mri"]))
    expected = torch.stack([dataset[i]["image"] for i in range(len(dataset))])  # opens files before the fork
    pairs = [[(i, 7 * i) for i in range(start, 10, 5)] for start in range(5)]
    loader = DataLoader(dataset, batch_sampler=pairs, num_workers=1, multiprocessing_context="fork")
    for pair, batch in zip(pairs, loader, strict=True):
        torch.testing.assert_close(batch["image"], expected[[i for i, _ in pair]])
        assert batch["seed"].tolist() == [seed for _, seed in pair]
    copy = pickle.loads(pickle.dumps(dataset))  # what a spawned worker gets
    torch.testing.assert_close(copy[3]["image"], expected[3])


def test_few_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "OPEN_FILES", 3)
    dataset = CubeDataset(
        case_records(fill(tmp_path, {f"ct/{n}.nii": [1, 1, 1] for n in range(9)}), "training", ["ct"])
    )
    for i in (0, 26, 13, 1, 2, 25, 9, 18, 21, 3):
        assert round(float(dataset[i]["image"].mean()) * LEVELS) == 100 * (i // 3) + i % 3
    assert sum(file.path.endswith(".h5") for file in psutil.Process().open_files()) <= 3
    assert len(pickle.dumps(dataset)) < 5000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("none", "training", ["ct"]), FileNotFoundError, "no store.json in .*none: run prepare.json first"),
        (("cubes", "training", ["pet"]), ValueError, r"no case of 'pet' in .*cubes \(found \['ct', 'mri'\]\)"),
        (("cubes", "test", ["ct"]), ValueError, r"no 'test' case of .* \(cases: {'training': 2, 'validation': 2}\)"),
    ],
)
def test_what_a_store_lacks_is_named(cubes, arguments, error, message):
    with pytest.raises(error, match=message):
        case_records(cubes.parent / arguments[0], *arguments[1:])


def test_a_store_that_is_not_finished_is_named(tmp_path):
    open_store(tmp_path, RECIPE)
    with pytest.raises(ValueError, match=r"preparation of .* has not ended: run prepare.json again"):
        case_records(tmp_path, "training", ["ct"])


def test_another_recipe_is_named_and_changes_nothing(cubes):
    before = (cubes / "store.json").read_bytes()
    open_store(cubes, RECIPE)
    with pytest.raises(ValueError, match=r"made by another recipe \(minimum_crop 8.0 there, 4 now\): give another"):
        open_store(cubes, {**RECIPE, "minimum_crop": 4})
    assert (cubes / "store.json").read_bytes() == before


def test_a_store_without_cases_takes_another_recipe(tmp_path):
    open_store(tmp_path, RECIPE)
    open_store(tmp_path, {**RECIPE, "minimum_crop": 4})
    assert read_index(tmp_path) == {"recipe": {**RECIPE, "minimum_crop": 4}}


def test_cubes_of_another_shape_are_refused(cubes):
    with pytest.raises(ValueError, match=r"patch_size: the stored cubes are \[8, 8, 4\], not \[64, 64, 32\]"):
        CubeDataset(case_records(cubes, "training", ["ct"]), [64, 64, 32])


def _missing(file):
    file.unlink()


def _truncated(file):
    file.write_bytes(file.read_bytes()[:-2000])


def _foreign(file):
    with h5py.File(file, "a") as stored:
        stored.attrs["recipe_id"] = "another"


CASE = {"case": "ct/a", "modality": "ct", "counts": [1, 0, 0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("7", "holds '7', expected a mapping with 'recipe'"),
        ("null", "holds 'None', expected a mapping with 'recipe'"),
        ({"splits": {}}, "expected a mapping with 'recipe'"),
        ({"recipe": {}}, "expected a mapping with 'recipe'"),
        ({"recipe": RECIPE, "splits": [CASE]}, "'splits' is not a mapping of lists of cases"),
        ({"recipe": RECIPE, "splits": {"training": None}}, "'splits' is not a mapping of lists of cases"),
        (
            {"recipe": RECIPE, "splits": {"training": ["ct/a"]}},
            r"training\[0\] is not a case with modality and 3 counts",
        ),
        *(
            ({"recipe": RECIPE, "splits": {"training": [{**CASE, "counts": counts}]}}, r"training\[0\] is not a case")
            for counts in ([1, -1, 2], [0, 0, 0], [1, 1], 3, [1.0, 1, 1], None)
        ),
        (
            {"recipe": RECIPE, "splits": {"training": [CASE], "validation": [CASE]}},
            "twice, in training and in validation",
        ),
        ({"recipe": RECIPE, "splits": {"training": [CASE, CASE]}}, "case 'ct/a' is listed twice"),
    ],
)
def test_a_wrong_index_is_one_line(tmp_path, content, message):
    (tmp_path / "store.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/store.json: .*{message}.*: delete it and run") as caught:
        read_index(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_index_that_disagrees_with_its_cases_is_one_line(cubes):
    index = read_index(cubes)
    entry = index["splits"]["training"][0]
    for counts in ([1, 2, 2], [3, 2, 1]):
        write_json(cubes / "store.json", {**index, "splits": {"training": [{**entry, "counts": counts}]}})
        with pytest.raises(ForeignCaseError, match=r"h5: holds 6 cubes, \[1, 2, 3\] by scale, store.json says \["):
            case_records(cubes, "training", ["ct"])
    write_json(cubes / "store.json", {**index, "splits": {"training": [{**entry, "modality": "mri"}]}})
    with pytest.raises(ForeignCaseError, match=r"holds cubes of modality 'ct', store.json says 'mri'"):
        case_records(cubes, "training", ["mri"])
    write_json(cubes / "store.json", index)
    record = case_records(cubes, "training", ["ct"])[0]
    shutil.copy(case_file(cubes, "ct/b.nii"), record["file"])
    with pytest.raises(ForeignCaseError, match=r"cubes of case 'ct/b.nii', store.json says 'ct/a.nii': run prepare"):
        open_case(record)


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (FileNotFoundError("no"), FileNotFoundError, "a.h5: cubes of 'ct/a' are missing: run prepare.json again"),
        (OSError(24, "no"), OSError, "a.h5: too many open files: raise the limit (ulimit -n), or lower num_workers"),
        (
            RuntimeError("bad\nheap"),
            OSError,
            "a.h5: unreadable or truncated (bad): delete it and run prepare.json again",
        ),
        (KeyError(), OSError, "a.h5: unreadable or truncated (KeyError): delete it and run prepare.json again"),
        (ForeignCaseError("a.h5: another"), ForeignCaseError, "a.h5: another"),
    ],
)
def test_whatever_h5py_raises_is_one_line(error, kind, line):
    with pytest.raises(kind, match=f"^{re.escape(line)}$"), damage_named({"file": "a.h5", "case": "ct/a"}):
        raise error


def test_changed_bytes_are_never_read_as_cubes(cubes):
    records = case_records(cubes, "training", ["ct"])
    whole = [CubeDataset(records)[i]["image"] for i in range(6)]
    file = Path(records[0]["file"])
    content, lines = file.read_bytes(), []
    for place in range(0, len(content), len(content) // 150):
        damaged = bytearray(content)
        damaged[place : place + 1 + place % 40] = bytes(1 + place % 40) if place % 2 else b"\xa5"
        file.write_bytes(damaged)
        try:
            found = [CubeDataset(records)[i]["image"] for i in range(6)]
        except OSError as error:
            lines.append(str(error))
        else:
            assert all(torch.equal(*pair) for pair in zip(whole, found, strict=True))
    assert len(lines) > 50
    assert all(line.startswith(str(file)) and "\n" not in line for line in lines)


def test_a_store_of_an_earlier_version_is_read(cubes):
    record = case_records(cubes, "training", ["ct"])[0]
    with h5py.File(record["file"], "a") as stored:
        levels = stored["cubes"][:]
        del stored["cubes"]
        stored.create_dataset("cubes", data=levels, chunks=(1, 8, 8, 4), shuffle=True, compression="lzf")
    dataset = CubeDataset(case_records(cubes, "training", ["ct"]))
    assert [round(float(dataset[i]["image"].mean()) * LEVELS) for i in range(6)] == list(range(6))


def test_few_handles_are_enough(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    records = case_records(fill(tmp_path, {f"ct/{n}.nii": [1, 1, 1] for n in range(30)}), "training", ["ct"])
    held = psutil.Process().num_fds()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + 20, hard))  # as ulimit -n does
        assert open_files() == (held + 20) // 4
        datasets = [CubeDataset(records) for _ in range(3)]
        for i in range(90):
            for dataset in datasets:
                assert round(float(dataset[i]["image"].mean()) * LEVELS) == 100 * (i // 3) + i % 3
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        with pytest.raises(OSError, match=r"h5: too many open files: raise the limit \(ulimit -n\)"):
            CubeDataset(records)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_missing, FileNotFoundError, "cubes of 'ct/a.nii' are missing: run prepare.json again"),
        (_truncated, OSError, "unreadable or truncated .*: delete it and run prepare.json again"),
        (_foreign, OSError, "made by another recipe than the store's"),
    ],
)
def test_damaged_files_are_named_in_one_line(cubes, damage, error, message):
    dataset = CubeDataset(case_records(cubes, "training", ["ct"]))
    file = case_file(cubes, "ct/a.nii")
    damage(file)
    with pytest.raises(error, match=message) as caught:
        dataset[0]
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    if damage is _missing:
        with pytest.raises(FileNotFoundError, match="are missing"):
            case_records(cubes, "training", ["ct"])
    if damage is not _foreign:
        assert read_attributes(file) is None


def test_case_files_of_different_ids_differ(tmp_path):
    ids = ["ct/a/b.nii", "ct/a_b.nii", "ct/a b.nii", "CT/a/b.nii", "ct/ä.nii", "ct/ö.nii", "ct/" + "x" * 300]
    files = [case_file(tmp_path, case) for case in ids]
    assert len({file.name.lower() for file in files}) == len(ids)
    assert all(len(file.name) < 130 and file.parent == tmp_path / "cases" for file in files)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "store.json"
    write_json(target, {"a": 1})
    with pytest.raises(TypeError):
        write_json(target, {"a": object()})
    target.unlink()
    target.mkdir()
    with pytest.raises(OSError, match=r"store\.json"):
        write_json(target, {"a": 2})
    assert os.listdir(tmp_path) == ["store.json"]


def test_store_is_readable_text(cubes):
    assert json.loads((cubes / "store.json").read_text())["recipe"]["patch_size"] == [8, 8, 4]


def test_cubes_are_named_by_their_scans_and_not_by_where_they_lie(cube_store, tmp_path):
    moved = shutil.copytree(cube_store, tmp_path / "moved")
    first, second = (case_records(store, "training", ["ct", "mri"]) for store in (cube_store, moved))
    name = cubes_identity(first)
    assert name.startswith(f"{len(CubeDataset(first))} cubes of {len(first)} cases, ")
    assert cubes_identity(second) == name != cubes_identity(first[::-1])
    with h5py.File(second[0]["file"], "a") as case:
        case.attrs["sha256"] = "0" * 64
    assert cubes_identity(second) != name
