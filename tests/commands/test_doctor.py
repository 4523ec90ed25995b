# SPDX-License-Identifier: Apache-2.0
"""`doctor` on every bundle: a good setup gets a plan, a bad one a line for each thing that would stop training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from luna import write_datalist, write_luna16
from monai.bundle import ConfigParser
from task_bundles import FEATURES, write_segmentation_data

from universal_model_components.commands.doctor import doctor, examine
from universal_model_components.commands.machine import (
    check_device,
    check_disk,
    check_memory,
    check_packages,
    network_bytes,
)
from universal_model_components.commands.surviving import reason_of, survive
from universal_model_components.method.models import UniversalModel
from universal_model_components.tasks.findings import Finding

BTS, LNC = "brats_mri_whole_tumor_segmentation", "lung_nodule_ct_classification"
SMALL = {"features": FEATURES, "patch_size": [16, 16, 8], "device": "cpu"}


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> Path:
    return write_segmentation_data(tmp_path_factory.mktemp("bts"), BTS)


def lines(bundle: Path, **settings) -> list[str]:
    return [str(finding) for finding in examine(bundle, {**SMALL, **settings}, voxels=False)]


def errors(*arguments, **settings) -> list[str]:
    return [line for line in lines(*arguments, **settings) if line.startswith("error")]


def test_a_good_setup_gets_a_plan(bundles, masks, tmp_path):
    torch.save(UniversalModel(features=FEATURES).state_dict(), tmp_path / "model.pt")
    settings = {"dataset_dir": str(masks), "bundle_root": str(tmp_path / "work"), "batch_size": 5}
    found = lines(bundles / BTS, pretrained_weights=str(tmp_path / "model.pt"), **settings)
    assert not any(line.startswith("error") for line in found), found
    plan = found[-1]
    # 3 cases, 8 cubes of each, in batches of 5
    assert plan.startswith("ok: plan: 3 training cases (3 samples), 1 validation cases (1); 5 steps of 5 an epoch, ")
    assert any("fills encoder 100.0%, decoder 100.0%" in line for line in found)
    assert not (tmp_path / "work").exists()  # nothing was started


def test_candidates_count_as_samples(bundles, tmp_path):
    entries = write_luna16(tmp_path)
    write_datalist(tmp_path, entries[:2], entries[2:3], entries[3:])
    settings = {"dataset_dir": str(tmp_path), "bundle_root": str(tmp_path / "work")}
    found = lines(bundles / LNC, candidates=str(tmp_path / "candidates.csv"), **settings)
    assert "2 training cases (10 samples), 1 validation cases (5); 1 steps of 8" in found[-1], found
    assert any("20 candidates of 4 series" in line for line in found)
    text = (tmp_path / "candidates.csv").read_text().replace("coordX", "x")
    (tmp_path / "wrong.csv").write_text(text)
    (error,) = errors(bundles / LNC, candidates=str(tmp_path / "wrong.csv"), **settings)
    assert "lacks the column 'coordX'" in error


def test_pretraining_reads_the_store(bundles, cube_store, tmp_path):
    bundle, settings = bundles / "universal_model_pretraining", {"bundle_root": str(tmp_path), "patch_size": None}
    found = lines(bundle, cube_store=str(cube_store), dataset_dir=str(cube_store.parent / "scans"), **settings)
    assert any("4 'training' cases" in line for line in found), found
    assert any("6 scans below" in line for line in found)
    assert found[-1].startswith("ok: plan: 4 training cases (")
    (error,) = errors(bundle, **settings)
    assert "run prepare.json first" in error


@pytest.mark.parametrize("task", sorted(json.loads((REPOSITORY / "scripts/bundle_parts/tasks.json").read_text())))
def test_every_bundle_is_complete_and_misses_its_data(bundles, task, tmp_path):
    found = lines(bundles / task, bundle_root=str(tmp_path))
    assert found[0] == f"ok: bundle: {bundles / task} is complete"
    assert [line for line in found if line.startswith("error")] == [
        f"error: dataset_dir: {tmp_path}/data is not a folder: give the one that the datalist's paths start from"
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rat": 1}, "learning_rat: no config of the bundle has this key"),
        (
            {"patch_size": [16, 16, 12]},
            "patch_size: [16, 16, 12] is not three whole numbers of voxels, each divisible by 8",
        ),
        ({"features": [5, 8]}, "features: [5, 8] are not two or more even numbers of channels"),
        ({"val_interval": 500}, "val_interval: 500 is more than the 100 epochs"),
        ({"device": "cuda:7"}, "device: cuda:7, but PyTorch sees"),
        ({"device": "abacus"}, "device: 'abacus' is not a device"),
        ({"modality": 3}, "modality: 3 is not a text"),
        ({"label_values": {"front": [1]}}, "label_values: unknown entry 'front'"),
        ({"pretrained_weights": "gone.pt"}, "pretrained_weights: no file gone.pt"),
        ({"ckpt_dir": str(REPOSITORY / "LICENSE/models")}, "LICENSE/models cannot be written"),
        ({"datalist": "gone.json"}, "datalist: cannot read gone.json"),
    ],
)
def test_settings_that_would_stop_it(bundles, masks, settings, message):
    settings = {**SMALL, "dataset_dir": str(masks), **settings}
    found = [str(finding) for finding in examine(bundles / BTS, settings, "label_values" in settings)]
    assert any(line.startswith("error") and message in line for line in found), found
    assert not any(line.startswith("ok: plan") for line in found)


def test_weights_that_cannot_be_followed(bundles, masks, tmp_path):
    torch.save(UniversalModel(features=FEATURES).state_dict(), tmp_path / "model.pt")
    settings = {"dataset_dir": str(masks), "bundle_root": str(tmp_path), "follow_pretraining": "true"}
    (error,) = errors(bundles / BTS, **settings)
    assert error == "error: follow_pretraining: there are no pretrained_weights to follow: give a file, or false"
    (error,) = errors(bundles / BTS, pretrained_weights=str(tmp_path / "model.pt"), **settings)
    assert f"follow_pretraining: {tmp_path / 'model.pt'} has no provenance" in error


def test_the_encoder_alone_is_enough_where_it_alone_is_loaded(bundles, masks, tmp_path):
    state = UniversalModel(features=FEATURES).state_dict()
    encoder = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    torch.save(encoder, tmp_path / "model.pt")
    settings = {
        "dataset_dir": str(masks),
        "bundle_root": str(tmp_path),
        "pretrained_weights": str(tmp_path / "model.pt"),
    }
    assert errors(bundles / BTS, transfer="encoder", **settings) == []
    (error,) = errors(bundles / BTS, **settings)
    assert "covers 0.0% of decoder" in error


def test_weights_of_another_width(bundles, masks, tmp_path):
    torch.save(UniversalModel(features=[8, 16, 32, 64]).state_dict(), tmp_path / "wide.pt")
    (error,) = errors(bundles / BTS, dataset_dir=str(masks), pretrained_weights=str(tmp_path / "wide.pt"))
    assert 'give --features "[8, 16, 32, 64]"' in error


def test_a_broken_bundle(bundles, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(bundles / BTS, bundle)
    (bundle / "configs/evaluate.json").write_text("{")
    (bundle / "LICENSE").unlink()
    (bundle / "configs/metadata.json").unlink()
    found = lines(bundle)
    assert any(line.startswith(f"error: {bundle}/configs/evaluate.json: not valid JSON") for line in found)
    assert any(line.startswith(f"error: {bundle}/configs/metadata.json: No such file") for line in found)
    assert any(line.startswith("warning: bundle: ") and "lacks LICENSE" in line for line in found)
    assert lines(tmp_path / "none") == [f"error: bundle: {tmp_path / 'none'} is not a folder: give one of bundles/"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train", [1, 2], "train.json: holds list, expected a mapping"),
        ("train", "[" * 100_000, "train.json: not valid JSON (maximum recursion depth exceeded"),
        ("systems/med3d", None, "systems/med3d.json: holds NoneType, expected a mapping"),
        ("metadata", [{}], "metadata.json: holds list, expected a mapping"),
        ("metadata", {"required_packages_version": ["monai"]}, "required_packages_version is list, expected a mapping"),
        ("metadata", {"monai_version": 9999, "required_packages_version": {"": "1"}}, "metadata.json:  1 is not"),
        ("train", {"network_def": [1]}, "error: network_def: "),
        ("train", {"settings": 3}, "error: "),
        ("train", {"seed": "@epochs", "epochs": "@seed"}, "circular"),
        ("train", {"dataset_dir": {"a": 1}}, "dataset_dir: {'a': 1} is not a folder"),
        ("train", {"features": [10**6, 10**6]}, "GB of memory available: give smaller features"),
        ("train", {"pretrained_weights": ["a", 1]}, "pretrained_weights: ['a', 1] is not the path of a file"),
        ("train", {"imports": 3}, "error: "),
        ("train", {"device": {"cpu": 1}}, "device"),
    ],
)
def test_it_survives_any_config(file, content, message, bundles, masks, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(bundles / BTS, bundle)
    config = bundle / f"configs/{file}.json"
    old = json.loads(config.read_text())
    if isinstance(content, str):
        config.write_text(content)
    else:
        config.write_text(json.dumps({**old, **content} if isinstance(content, dict) else content))
    settings = {**SMALL, "dataset_dir": str(masks), "bundle_root": str(tmp_path / "work")}
    given = content if isinstance(content, dict) else {}
    kept = {key: value for key, value in settings.items() if key not in given}
    found = [str(finding) for finding in examine(bundle, kept, voxels=False)]
    assert any(message in line for line in found), found
    assert any(line.startswith(("error", "warning")) for line in found)
    assert not any("\n" in line for line in found)


def test_it_survives_any_weights(bundles, masks, tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "cyclic.pt")
    (tmp_path / "weights.pt").write_bytes(b"\x80\x02" + b"(" * 1000)
    for name, message in (("cyclic.pt", "holds a mapping of ['model']"), ("weights.pt", "is unreadable")):
        (error,) = errors(bundles / BTS, dataset_dir=str(masks), pretrained_weights=str(tmp_path / name))
        assert f"error: pretrained_weights: {tmp_path / name} {message}" in error


def test_an_error_that_no_check_foresaw_is_a_finding():
    def check():
        yield Finding("ok", "first")
        raise RecursionError("a\nb") from KeyError("c")

    assert [str(finding) for finding in survive("it", check())] == [
        "ok: first",
        "error: it: cannot be checked ('c'): correct it, or fetch the bundle again",
    ]
    assert reason_of(ValueError("a\n b")) == "a b"


def test_keys_of_every_config_are_known(bundles, masks, tmp_path):
    settings = {"dataset_dir": str(masks), "bundle_root": str(tmp_path)}
    assert errors(bundles / BTS, width=8, dilated=True, **settings) == []  # of systems/med3d.json


def test_a_checkpoint_in_the_way_is_a_warning(bundles, masks, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/checkpoint.pt").write_bytes(b"")
    settings = {"dataset_dir": str(masks), "bundle_root": str(tmp_path)}
    assert any(line.startswith("warning: resume: false, ") for line in lines(bundles / BTS, **settings))
    assert not any(line.startswith("warning: resume") for line in lines(bundles / BTS, resume="true", **settings))


def test_machine(tmp_path):
    layer = {"_target_": "torch.nn.Linear", "in_features": 10**9, "out_features": 9}
    assert network_bytes(ConfigParser({"network_def": layer})) == 4 * (9 * 10**9 + 9)
    assert check_disk(tmp_path / "a/b", 1, "ckpt_dir").level == "ok"
    assert check_disk(tmp_path, 1e18, "ckpt_dir").level == "error"
    assert check_memory(1, "it", "less").level == "ok"
    assert str(check_memory(1e18, "the cache", "give less")).endswith("give less")
    assert check_device("cpu", [64, 128]).level == "warning"
    metadata = {"monai_version": "999.0", "required_packages_version": {"no-such-thing": "1"}}
    found = [str(finding) for finding in check_packages(metadata)]
    assert found[0].startswith("warning: metadata.json: made with monai 999.0, installed is ")
    assert found[1].startswith("error: metadata.json: no-such-thing 1 is not installed")


def test_the_command_exits_with_1(bundles, masks, tmp_path, capsys):
    settings = {**SMALL, "dataset_dir": str(masks), "bundle_root": str(tmp_path)}
    doctor(str(bundles / BTS), voxels="false", **settings)
    assert capsys.readouterr().out.endswith("training would run\n")
    command = [
        sys.executable,
        "-m",
        "universal_model_components",
        "doctor",
        str(bundles / BTS),
        "--dataset_dir",
        "gone",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "error: dataset_dir: gone is not a folder" in result.stdout
    assert "Traceback" not in result.stderr
