# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from scan_files import SMALL, Barrier, body, make_dataset, write_datalist, write_scan, write_with_rows
from stores import content

from universal_model_components.cubes.case_file import read_attributes
from universal_model_components.cubes.cases import prepare_case
from universal_model_components.cubes.preparation import LOCK, prepare_cubes
from universal_model_components.cubes.recipe import Recipe, make_recipe
from universal_model_components.cubes.store import CubeDataset, case_records, read_index
from universal_model_components.imaging.errors import problem_of
from universal_model_components.imaging.hdf5 import LEVELS, case_file
from universal_model_components.imaging.normalization import load_scan
from universal_model_components.imaging.scan_files import content_hash
from universal_model_components.utils.locks import locked
from universal_model_components.utils.parallel import run_parallel

BOTH = ("ct", "mri")


def run(dataset, store, **changes):
    return prepare_cubes(dataset and str(dataset), str(store), **{"recipe": SMALL, "num_workers": 0, **changes})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "cubes"
    run(dataset, store)
    return store


def test_the_report_is_whoever_is_named_to_write_it(dataset, prepared, tmp_path, capsys):
    seen = []

    def report(store: str) -> Path:
        seen.append((store, sorted(read_index(store)["splits"])))  # the store is finished by then
        return tmp_path / "page.html"

    run(dataset, prepared, report=report)
    assert seen == [(str(prepared), ["training", "validation"])]
    assert f"report: {tmp_path / 'page.html'}\n" in capsys.readouterr().out
    run(dataset, prepared)
    assert "report: " not in capsys.readouterr().out
    assert not list(prepared.glob("*.html"))


def test_every_scan_becomes_cubes(prepared):
    cases = [case for split in ("training", "validation") for case in case_records(prepared, split, BOTH)]
    assert len(cases) == 6
    assert all(case["counts"][0] == 2 and case["counts"][1] == 2 for case in cases)
    assert all(case["counts"] == [2, 2, 4] for case in cases if case["modality"] == "ct")
    for split in ("training", "validation"):
        data = CubeDataset(case_records(prepared, split, BOTH), SMALL["patch_size"])
        images = [data[i]["image"] for i in range(len(data))]
        assert all(image.shape == (1, 16, 16, 8) and image.min() >= 0 and image.max() <= 1 for image in images)
        assert data.modality_labels.unique().tolist() == [0, 1]


def test_provenance_leads_back_to_the_scan(dataset, prepared):
    with h5py.File(case_file(prepared, "ct/scan_1.nii.gz")) as stored:
        attributes = dict(stored.attrs)
        boxes, scales, cubes = stored["box"][:], stored["scale"][:], stored["cubes"][:]
        assert stored["cubes"].chunks == (1, 16, 16, 8)
    assert attributes["case"] == "ct/scan_1.nii.gz"
    assert attributes["modality"] == "ct"
    assert attributes["sha256"] == content_hash(dataset / "ct/scan_1.nii.gz")
    assert json.loads(attributes["recipe"]) == make_recipe(SMALL, BOTH).to_dict()
    assert scales.tolist() == [0] * 2 + [1] * 2 + [2] * 4
    # A large crop has 16 voxels of 2 mm a side: its first two axes are not resized, the third is halved.
    scan = load_scan(dataset / "ct/scan_1.nii.gz", (-1000, 1000), "range", (2, 2, 2))
    np.testing.assert_allclose(attributes["affine"], scan.affine)
    low, high = np.rint(boxes[0] / 2).astype(int)
    crop = scan.volume[low[0] : high[0], low[1] : high[1], low[2] : high[2]].numpy()
    assert np.corrcoef(crop.mean(axis=2).ravel(), cubes[0].mean(axis=2).ravel() / LEVELS)[0, 1] > 0.99


@pytest.mark.parametrize("workers", [0, 2])
def test_order_workers_and_other_cases_change_nothing(dataset, prepared, tmp_path, workers):
    if workers:
        run(dataset, tmp_path, num_workers=workers)
        assert content(tmp_path) == content(prepared)
        return
    (tmp_path / "cases").mkdir()
    name, file = "mri/scan_2.nii.gz", str(dataset / "mri/scan_2.nii.gz")
    case = {"case": name, "modality": "mri", "group": "mri/scan_2", "set": "folder", "file": file}
    assert prepare_case(case, make_recipe(SMALL, BOTH), str(tmp_path))["status"] == "made"
    assert case_file(tmp_path, name).read_bytes() == case_file(prepared, name).read_bytes()


def test_finished_cases_are_kept_and_changed_or_damaged_ones_made_again(dataset, tmp_path, capsys):
    scans, store = tmp_path / "scans", tmp_path / "cubes"
    shutil.copytree(dataset, scans)
    run(scans, store)
    before = content(store)
    stamps = {file.name: file.stat().st_mtime_ns for file in (store / "cases").iterdir()}
    truncated = case_file(store, "ct/scan_0.nii.gz")
    truncated.write_bytes(truncated.read_bytes()[:-3000])
    write_scan(scans / "ct/scan_1.nii.gz", body(seed=99))
    capsys.readouterr()
    run(scans, store)
    after = content(store)
    redone = {name for name, stamp in stamps.items() if (store / "cases" / name).stat().st_mtime_ns != stamp}
    assert redone == {truncated.name, case_file(store, "ct/scan_1.nii.gz").name}
    assert {name for name in before if before[name] != after[name]} == {case_file(store, "ct/scan_1.nii.gz").name}
    printed = capsys.readouterr()
    assert "(2 made, 4 kept from before)" in printed.out
    assert (
        "ct/scan_1.nii.gz: another scan than that of its stored cubes: they are made again" in printed.out + printed.err
    )


def test_another_recipe_stops_in_one_line_and_changes_nothing(dataset, prepared):
    before = content(prepared)
    with pytest.raises(ValueError, match=r"^cube_store: .* another recipe \(minimum_crop 8.0 there, 4 now\)"):
        run(dataset, prepared, recipe={**SMALL, "minimum_crop": 4})
    assert content(prepared) == before


INTERRUPTED = """
import json, sys
from universal_model_components.cubes.preparation import prepare_cubes
if __name__ == "__main__":
    prepare_cubes(None, sys.argv[1], recipe=json.loads(sys.argv[2]), datalist=sys.argv[3], num_workers=1)
"""


def test_a_damaged_file_counts_as_none(tmp_path):
    with h5py.File(tmp_path / "wrong.h5", "w") as stored:
        stored["cubes"] = np.dtype("f4")  # a type by that name, which has no length
        stored.attrs["counts"] = [1, 1, 1]
    assert read_attributes(tmp_path / "wrong.h5") is None


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_interrupted_run_resumes_where_it_was(tmp_path):
    scans, store = make_dataset(tmp_path / "scans"), tmp_path / "interrupted"
    listed = write_datalist(tmp_path, scans)
    barrier = Barrier(scans / "mri/scan_0.nii.gz")  # one worker takes the cases in order: three before this one
    (tmp_path / "run.py").write_text(INTERRUPTED)
    command = [sys.executable, tmp_path / "run.py", store, json.dumps(SMALL), listed]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    barrier.wait(alive=lambda: child.poll() is None)
    assert child.poll() is None, "the run ended before it could be killed"
    family = psutil.Process(child.pid).children(recursive=True)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert family, "no worker was there"
    assert not alive, "a worker outlived the killed run"
    barrier.lift()
    cases = store / "cases"
    done = {file.name: file.stat().st_mtime_ns for file in cases.iterdir()}
    assert done.keys() == {case_file(store, f"ct/scan_{n}.nii.gz").name for n in range(3)}
    with pytest.raises(ValueError, match="has not ended"):
        case_records(store, "training", BOTH)
    (cases / f".x.h5.{child.pid}.tmp").write_bytes(b"half a case")
    run(None, store, datalist=str(listed))
    assert all((cases / name).stat().st_mtime_ns == stamp for name, stamp in done.items())
    run(None, tmp_path / "whole", datalist=str(listed))
    assert content(store) == content(tmp_path / "whole")


FULL = """
import json, resource, sys
from universal_model_components.cubes.preparation import prepare_cubes
from universal_model_components.utils.errors import show_user_errors
if __name__ == "__main__":
    show_user_errors("prepare")
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))  # a case does not fit, the JSON files do
    prepare_cubes(sys.argv[1], sys.argv[2], recipe=json.loads(sys.argv[3]), num_workers=0)
"""


@pytest.mark.slow
def test_a_full_disk_stops_in_one_line_and_keeps_what_is_there(dataset, prepared, tmp_path):
    scans, store = tmp_path / "scans", tmp_path / "cubes"
    shutil.copytree(dataset, scans)
    shutil.copytree(prepared, store)
    before = content(store)
    write_scan(scans / "ct/one_more.nii.gz", body(seed=5))
    (tmp_path / "run.py").write_text(FULL)
    command = [sys.executable, tmp_path / "run.py", scans, store, json.dumps(SMALL)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"prepare: {store}/cases/ct_one_more")
    assert "could not be written (File too large): free some space" in last
    assert last.endswith("finished cases are kept, run again to resume")
    assert "Traceback" not in result.stderr
    assert content(store) == before


def _bad_scans(folder):
    """Damage a folder in every way; return what must be reported for each."""
    good = write_scan(folder / "ct/truncated.nii.gz", body())
    good.write_bytes(good.read_bytes()[:500])
    (folder / "ct/text.nii").write_text("no image")
    write_scan(folder / "ct/flat.nii", body()[:, :, 0])
    write_scan(folder / "ct/four.nii", np.stack([body()] * 2, -1))
    nan = body().astype(np.float32)
    nan[0, 0, 0] = np.nan
    write_scan(folder / "ct/nan.nii", nan)
    write_scan(folder / "mri/constant.nii", np.ones((16, 16, 16), np.int16))
    write_scan(folder / "mri/tiny.nii", body((6, 6, 6), "mri"))
    write_scan(folder / "ct/scan_0.nii", body())
    write_scan(folder / "pet/a.nii", body())
    write_scan(folder / "stray.nii", body())
    return {
        "ct/truncated.nii.gz": "unreadable or truncated",
        "ct/text.nii": "unreadable or truncated",
        "ct/flat.nii": "2D image",
        "ct/four.nii": "4D image",
        "ct/nan.nii": "1 voxels are NaN or infinite",
        "mri/constant.nii": "constant volume",
        "mri/tiny.nii": "too small for any scale",
        "ct/scan_0.nii.gz": "has the same id as",
        "pet": "unknown modality",
        "stray.nii": "not in the folder of a modality",
    }


@pytest.mark.parametrize("strict", [False, "true"])
def test_bad_scans_are_skipped_and_listed_at_the_end(tmp_path, capsys, strict):
    expected = _bad_scans(make_dataset(tmp_path / "scans"))
    if strict:
        with pytest.raises(ValueError, match=r"^10 problems, listed above, and strict is true"):
            run(tmp_path / "scans", tmp_path / "cubes", strict=strict)
    else:
        run(tmp_path / "scans", tmp_path / "cubes")
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("wrong: ")]
    assert len(listed) == len(expected)
    for file, message in expected.items():
        assert sum(line.startswith(f"wrong: {tmp_path / 'scans' / file}: ") and message in line for line in listed) == 1
    index = json.loads((tmp_path / "cubes" / "store.json").read_text())
    assert len(index["problems"]) == len(expected)
    assert sum(len(cases) for cases in index["splits"].values()) == 6
    assert len(list((tmp_path / "cubes" / "cases").iterdir())) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strict": "maybe"}, "^strict: 'maybe' is not a boolean"),
        ({"plan": "2"}, "^plan: '2' is not a boolean"),
        ({"dataset_dir": "nowhere"}, "^dataset_dir: nowhere is not a folder"),
        (
            {"modalities": ["ct", "us"]},
            "^intensity_range, intensity_scale, foreground_crop: no entry for modality 'us'",
        ),
        ({"recipe": {**SMALL, "patch_size": [16, 16]}}, "^patch_size: "),
        ({"groups": "nowhere.csv"}, "^groups: cannot read nowhere.csv"),
        ({"datalist": "nowhere.json"}, "^datalist: cannot read nowhere.json"),
        ({"datalist": "nowhere.json", "groups": "a.csv"}, "^groups: not used with a given datalist"),
        ({"validation_fraction": 1.5}, "^validation_fraction: 1.5"),
        ({"validation_fraction": "some"}, "^validation_fraction: 'some'"),
        *(
            ({"flat_share": share}, f"^flat_share: {share!r} is not within 0 and 1, and above 0")
            for share in (0, 1.5, "most", True)
        ),
        ({"modalities": ["ct", "us"], "recipe": None}, "^intensity_range, intensity_scale, foreground_crop: no entry"),
        ({"num_workers": "many"}, "^num_workers: 'many' is not a number"),
    ],
)
def test_wrong_settings_stop_before_anything_is_written(dataset, tmp_path, changes, message):
    arguments = {"dataset_dir": str(dataset), "cube_store": str(tmp_path / "cubes"), "num_workers": 0}
    recipe = {**SMALL, "intensity_range": {"ct": [-1000, 1000], "mri": [0, 4000]}}
    with pytest.raises(ValueError, match=message):
        prepare_cubes(**{**arguments, "recipe": recipe, **changes})
    assert not (tmp_path / "cubes").exists()


def test_a_modality_without_training_cases_stops(tmp_path):
    make_dataset(tmp_path / "scans", ct=2, mri=0)
    with pytest.raises(ValueError, match=r"^no training case of 'mri' left in .*: add scans or change modalities"):
        run(tmp_path / "scans", tmp_path / "cubes")
    run(tmp_path / "scans", tmp_path / "cubes", modalities="ct")
    assert len(case_records(tmp_path / "cubes", "training", ["ct"])) == 1


def test_an_empty_folder_stops(tmp_path):
    with pytest.raises(ValueError, match=r"^no training case of 'ct' left in"):
        run(tmp_path, tmp_path / "cubes")


def test_plan_writes_nothing(dataset, tmp_path, capsys):
    plan = run(dataset, tmp_path / "cubes", plan="true")
    assert not (tmp_path / "cubes").exists()
    assert plan["cases"] == 6
    assert plan["cubes"] == 6 * 8
    assert plan["bytes"] > 6 * 8 * 1000
    assert plan["seconds"] > 0
    assert "training    ct" in capsys.readouterr().out


def test_plan_names_what_is_wrong(tmp_path, capsys):
    scans = make_dataset(tmp_path / "scans", 3, 1)
    (scans / "ct/text.nii").write_text("no image")
    write_scan(scans / "ct/tiny.nii", body((6, 6, 6)))
    write_scan(scans / "ct/huge.nii", body(), 80.0)
    write_scan(scans / "mri/constant.nii", np.ones((32, 32, 33), np.int16))  # the median: only its voxels are wrong
    write_scan(scans / "mri/larger.nii", body((32, 32, 48), "mri"))
    write_scan(scans / "mri/largest.nii", body((32, 48, 48), "mri"))
    write_scan(scans / "mri/even_larger.nii", body((48, 48, 48), "mri"))
    write_with_rows(scans / "ct/flat.nii", [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0])
    plan = run(scans, tmp_path / "cubes", plan=True, recipe={**SMALL, "spacing": [1.0] * 3})
    expected = {
        "ct/text.nii": "no readable header",
        "ct/tiny.nii": "too small for any scale",
        "ct/huge.nii": "voxels at spacing",
        "ct/flat.nii": "singular affine",
        "mri/constant.nii": "constant volume",
    }
    assert len(plan["problems"]) == len(expected)
    for file, message in expected.items():
        assert any(line.startswith(f"{scans / file}: ") and message in line for line in plan["problems"])
    assert plan["cases"] == 7
    assert plan["seconds"] > 0
    assert "wrong: " in capsys.readouterr().out


def test_a_plan_counts_with_the_spacing_that_is_kept(tmp_path):
    # So near to 2 mm that nothing is resampled: small crops of 4 voxels are then just under the 8 mm asked for.
    write_scan(tmp_path / "scans/ct/a.nii", body(), 1.9995)
    plan = run(tmp_path / "scans", tmp_path / "cubes", plan=True, modalities="ct")
    index = run(tmp_path / "scans", tmp_path / "cubes", modalities="ct")
    assert index["splits"]["training"][0]["counts"] == [2, 2, 0]
    assert plan["cubes"] == 4


def test_a_plan_of_bad_scans_alone_says_so(tmp_path):
    write_scan(tmp_path / "scans/ct/constant.nii", np.ones((32, 32, 32), np.int16))
    plan = run(tmp_path / "scans", tmp_path / "cubes", plan=True, modalities="ct")
    assert plan["cases"] == 0
    assert "constant volume" in plan["problems"][0]


def test_bad_scans_take_no_place_in_the_split(tmp_path):
    # Which of six validates depends on their names; whichever it is, damaging it must not empty the split.
    scans = make_dataset(tmp_path / "scans", 6, 0)
    first = run(scans, tmp_path / "first", modalities="ct")
    held = [case["case"] for case in first["splits"]["validation"]]
    for case in held:
        (scans / case).write_bytes(b"no image")
    second = run(scans, tmp_path / "second", modalities="ct")
    assert second["splits"]["validation"]
    assert not {case["case"] for cases in second["splits"].values() for case in cases} & set(held)
    datalist = json.loads((tmp_path / "second" / "datalist.json").read_text())
    for split, cases in second["splits"].items():
        assert [case["case"] for case in datalist[split]] == [case["case"] for case in cases]


def test_a_datalist_without_validation_is_split(dataset, tmp_path):
    entries = [{"image": f"{m}/scan_{n}.nii.gz", "modality": m} for m in BOTH for n in range(3)]
    (tmp_path / "list.json").write_text(json.dumps({"training": entries, "validation": None}))
    index = run(dataset, tmp_path / "cubes", datalist=str(tmp_path / "list.json"))
    assert [case["modality"] for case in index["splits"]["validation"]] == ["ct", "mri"]
    assert len(json.loads((tmp_path / "cubes" / "datalist.json").read_text())["validation"]) == 2


def test_a_case_of_another_modality_is_made_again(dataset, tmp_path):
    case = {"case": "a", "modality": "ct", "group": "a", "set": "folder", "file": str(dataset / "ct/scan_0.nii.gz")}
    recipe = make_recipe(SMALL, BOTH)
    assert [prepare_case(case, recipe, str(tmp_path))["status"] for _ in range(2)] == ["made", "kept"]
    again = prepare_case({**case, "modality": "mri"}, recipe, str(tmp_path))
    assert again["status"] == "made"
    assert "another modality than that of its stored cubes" in again["notes"][-1]
    assert prepare_case({**case, "modality": "mri", "group": "b"}, recipe, str(tmp_path))["status"] == "kept"


def test_the_file_of_another_case_is_made_again(dataset, tmp_path):
    file, recipe = str(dataset / "ct/scan_0.nii.gz"), make_recipe(SMALL, BOTH)
    cases = [{"case": name, "modality": "ct", "group": name, "set": "folder", "file": file} for name in "ab"]
    for case in cases:
        prepare_case(case, recipe, str(tmp_path))
    whole = case_file(tmp_path, "b").read_bytes()
    shutil.copy(case_file(tmp_path, "a"), case_file(tmp_path, "b"))
    again = prepare_case(cases[1], recipe, str(tmp_path))
    assert again["status"] == "made"
    assert "another case than that of its stored cubes" in again["notes"][-1]
    assert case_file(tmp_path, "b").read_bytes() == whole


def _copies(folder):
    """Fill a folder with three scans and a copy of each: the same file, another type, other axes."""
    voxels = [body((24, 28, 32), "mri", seed).astype(np.int16) for seed in range(3)]
    for number, scan in enumerate(voxels):
        write_scan(folder / f"mri/{number}.nii.gz", scan)
    shutil.copy(folder / "mri/0.nii.gz", folder / "mri/0_copy.nii.gz")
    write_scan(folder / "mri/1_copy.nii.gz", voxels[1].astype(np.float32))
    write_scan(folder / "mri/2_copy.nii.gz", voxels[2][::-1], np.diag([-2.0, 2, 2, 1]))
    return folder


def test_a_copy_of_a_validation_scan_is_not_trained_on(tmp_path):
    scans = _copies(tmp_path / "scans")
    write_scan(scans / "mri/3_copy.nii.gz", body((24, 28, 32), "mri", 3))
    names = {
        "training": [f"mri/{n}_copy.nii.gz" for n in range(4)],
        "validation": [f"mri/{n}.nii.gz" for n in range(3)],
    }
    entries = {split: [{"image": name, "modality": "mri"} for name in listed] for split, listed in names.items()}
    (tmp_path / "list.json").write_text(json.dumps(entries))
    for _ in range(2):  # made, then kept
        index = run(scans, tmp_path / "cubes", datalist=str(tmp_path / "list.json"), modalities="mri")
        assert [case["case"] for case in index["splits"]["training"]] == ["mri/3_copy.nii.gz"]
        assert len(index["splits"]["validation"]) == len(index["problems"]) == 3
        assert index["problems"][0] == (
            f"{scans}/mri/0_copy.nii.gz: training case with the voxels of {scans}/mri/0.nii.gz in validation: "
            "left out, remove one, or give both the same patient"
        )


def test_copies_in_a_folder_are_never_in_both_splits(tmp_path):
    scans = _copies(tmp_path / "scans")
    index = run(scans, tmp_path / "cubes", modalities="mri", validation_fraction=0.5)
    names = {split: {case["case"][4] for case in cases} for split, cases in index["splits"].items()}
    assert index["problems"]
    assert not names["training"] & names["validation"]
    listed = json.loads((tmp_path / "cubes" / "datalist.json").read_text())
    assert [case["case"] for case in listed["training"]] == [case["case"] for case in index["splits"]["training"]]


def test_a_scan_that_is_flat_after_clipping_is_left_out(tmp_path, capsys):
    scans, store = make_dataset(tmp_path / "scans", 0, 3), tmp_path / "cubes"
    write_scan(scans / "mri/bright.nii", 40 * body(modality="mri") + 3990)
    kept = run(scans, store, modalities="mri", flat_share=1)
    assert not kept["problems"]
    for folder in (store, tmp_path / "new"):
        index = run(scans, folder, modalities="mri")
        wanted = r"mri/bright\.nii: [0-9.]+% of the voxels have one intensity after clipping to .*: left out, see flat_"
        assert re.search(wanted, index["problems"][0])
        assert not [case for cases in index["splits"].values() for case in cases if "bright" in case["case"]]
        assert "flat after clipping and left out, see flat_share: 1 scans\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"^1 problems, listed above, and strict is true"):
        run(scans, store, modalities="mri", strict=True)


def test_a_bright_voxel_does_not_darken_cubes_scaled_by_percentiles(tmp_path, capsys):
    for number in range(2):
        voxels = body(modality="mri", seed=number)
        voxels[0, 0, 0] = 20000
        write_scan(tmp_path / f"scans/mri/{number}.nii", voxels)
    means = {}
    for scale, dark in (("volume", 16), ("percentiles", 0)):
        recipe = {**SMALL, "intensity_range": {"mri": None}, "intensity_scale": {"mri": scale}}
        run(tmp_path / "scans", tmp_path / scale, modalities="mri", recipe=recipe)
        assert read_index(tmp_path / scale)["recipe"]["intensity_scale"] == {"mri": scale}
        printed = capsys.readouterr().out
        assert f"; {dark} cubes are mostly background" in printed
        assert "clipping to" not in printed
        cubes = CubeDataset(case_records(tmp_path / scale, "training", ["mri"]), SMALL["patch_size"])
        means[scale] = np.mean([float(cubes[number]["image"].mean()) for number in range(len(cubes))])
    assert means["volume"] < 0.05 < 0.2 < means["percentiles"]


def test_two_flat_hippocampi_are_left_out(real_data, tmp_path):
    recipe = make_recipe({**SMALL, "minimum_crop": 1}, BOTH)
    status = {}
    for number in ("044", "135", "001"):
        file = str(real_data / f"hippocampus_mri/imagesTr/hippocampus_{number}.nii.gz")
        case = {"case": number, "modality": "mri", "group": number, "set": "folder", "file": file}
        status[number] = prepare_case(case, recipe, str(tmp_path))["status"]
    assert status == {"044": "flat", "135": "flat", "001": "made"}


def test_a_store_that_another_run_fills_is_left_alone(dataset, tmp_path):
    with locked(tmp_path / LOCK) as lock:
        assert lock is not None
        with pytest.raises(ValueError, match=rf"^cube_store: another run fills {tmp_path} now: wait for it, or give"):
            run(dataset, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [LOCK]


def test_no_single_scan_stops_the_others(tmp_path):
    (tmp_path / "a.mhd").write_bytes(b"NDims = 3\nElementDataFile = \xff\xfe.raw\n")
    case = {"case": "a", "modality": "ct", "group": "a", "set": "folder", "file": str(tmp_path / "a.mhd")}
    result = prepare_case(case, make_recipe(SMALL, BOTH), str(tmp_path))
    assert result["status"] == "skipped"
    assert result["problem"].startswith(f"{tmp_path / 'a.mhd'}: ")
    assert problem_of("a.nii", KeyError("x\ny")) == r"a.nii: KeyError: 'x\ny'"
    assert problem_of("a.nii", TypeError("one\ntwo")) == "a.nii: TypeError: one"
    assert problem_of("a.nii", MemoryError("full")) == "a.nii: MemoryError: full: see the memory of this machine"


def test_a_store_that_cannot_be_made_is_named(dataset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=rf"^{tmp_path}/file/cubes: Not a directory; finished cases"):
        run(dataset, tmp_path / "file" / "cubes")


def test_half_written_files_of_dead_processes_alone_are_removed(dataset, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = [f".gone.json.{child.pid}.tmp", f"cases/.gone.h5.{child.pid}.tmp"]
    others = [f".alive.json.{os.getppid()}.tmp", f"cases/.alive.h5.{os.getppid()}.tmp", "cases/mine.tmp"]
    (tmp_path / "cases").mkdir()
    for name in dead + others:
        (tmp_path / name).touch()
    run(dataset, tmp_path)
    assert sorted(str(left.relative_to(tmp_path)) for left in tmp_path.rglob("*.tmp")) == sorted(others)


def _die(case):
    if case["file"] == "b.nii":
        os._exit(1)
    time.sleep(0.01)
    return case["file"]


def test_a_dead_worker_is_reported_with_the_scan(tmp_path):
    calls = [({"file": name},) for name in ("a.nii", "b.nii", "c.nii")]
    with pytest.raises(
        ChildProcessError, match=r"^a worker process died, .*, possibly at b\.nii: use fewer num_workers"
    ):
        list(run_parallel(_die, calls, 1))


def test_given_datalist_decides(dataset, tmp_path):
    entries = [{"image": f"{m}/scan_{n}.nii.gz", "modality": m} for m in BOTH for n in range(2)]
    (tmp_path / "list.json").write_text(json.dumps({"training": entries[::2], "validation": entries[1::2], "test": []}))
    index = run(dataset, tmp_path / "cubes", datalist=str(tmp_path / "list.json"))
    assert [case["case"] for case in index["splits"]["training"]] == ["ct/scan_0.nii.gz", "mri/scan_0.nii.gz"]
    assert not (tmp_path / "cubes" / "datalist.json").exists()


def test_hash_of_a_header_covers_its_data(tmp_path):
    (tmp_path / "a.mhd").write_text("NDims = 3\nElementDataFile = a.raw\n")
    (tmp_path / "a.raw").write_bytes(b"1")
    first = content_hash(tmp_path / "a.mhd")
    (tmp_path / "a.raw").write_bytes(b"2")
    assert content_hash(tmp_path / "a.mhd") != first


def test_real_scans(real_data, tmp_path):
    for modality, names in {"ct": ("head_vtk", "abdomen_totalseg"), "mri": ("spine_t2", "spine_t1")}.items():
        (tmp_path / "scans" / modality).mkdir(parents=True)
        for name in names:
            file = next((real_data / "pretraining" / modality).glob(f"{name}*"))
            shutil.copy(file, tmp_path / "scans" / modality)
    index = run(tmp_path / "scans", tmp_path / "cubes", recipe={**SMALL, "minimum_crop": 4})
    assert index["problems"] == []
    assert {len(cases) for cases in index["splits"].values()} == {2}
    assert Recipe().minimum_crop == 8


def test_the_attribute_of_an_earlier_version_is_read(tmp_path):
    file = tmp_path / "case.h5"
    with h5py.File(file, "w") as stored:
        stored["cubes"] = np.zeros((3, 2, 2, 2), np.uint16)
        stored.attrs.update(counts=[1, 1, 1], airy=2)
    found = read_attributes(file)
    assert found["mostly_background"] == 2
    assert "airy" not in found
