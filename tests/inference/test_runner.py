# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from devices import DEVICE
from monai.bundle import ConfigWorkflow
from monai.data import Dataset
from original_network import original_state
from torch import nn
from user_errors import raises_user_error

from universal_model_components.imaging.transforms import NormalizeScand, ReadScand, ToOriginalSpaced
from universal_model_components.imaging.unusable import Unusable
from universal_model_components.inference.inputs import list_scans
from universal_model_components.inference.runner import ScanLoader, report_skipped, run_inference
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.unet import UNet
from universal_model_components.utils.errors import root_cause
from universal_model_components.utils.pooling import pool_levels
from universal_model_components.weights.provenance import complete, write_weights
from universal_model_components.weights.strict import check_weights, load_weights

FEATURES = [4, 8, 16, 32]
RANGES = {"ct": [-1000, 1000], "mri": [0, 4000]}
SCALES = {"ct": "range", "mri": "volume"}

TILT = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])  # a rotation by 16 degrees
GRIDS = {
    "RAS": (np.diag([1.0, 1, 1]), (24, 20, 18)),
    "LPS": (np.diag([-1.0, -1, 1]), (24, 20, 18)),
    "LAS": (np.diag([-1.0, 1, 1]), (24, 20, 18)),
    "SLA": (np.array([[0.0, -1, 0], [0, 0, 1], [1, 0, 0]]), (18, 24, 20)),
    "oblique": (TILT @ np.diag([-1.0, -1, 1]), (24, 20, 18)),
    "anisotropic": (np.diag([0.8, 0.8, 3.0]), (30, 26, 9)),
    "oblique anisotropic": (TILT @ np.diag([-1.5, 0.7, 2.0])[:, [0, 2, 1]], (20, 12, 30)),
}


def affine_of(directions: np.ndarray) -> np.ndarray:
    return nibabel.affines.from_matvec(directions, [-31.0, 12.5, 7.0])


def smooth_scan(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A sum of slow waves in scanner space, in -900 … 900, without any symmetry."""
    where = nibabel.affines.apply_affine(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
    x, y, z = np.moveaxis(where, -1, 0)
    return (450 * np.sin(x / 7 + y / 11) + 450 * np.cos(z / 9 - x / 13 + 0.3)).astype(np.float32)


def write_scan(file: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), file)
    return file


def read_and_normalize(data: dict) -> dict:
    return NormalizeScand("image", RANGES, SCALES)(ReadScand("image")(data))


class Identity(nn.Module):
    """A network that restores what it is given, with an encoder to take features from."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Halves()

    def forward(self, image):
        self.encoder(image)
        return image.clone()


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image):
        return [image * self.weight] + [nn.functional.avg_pool3d(image, 2**depth) for depth in (1, 2, 3)]


@pytest.fixture
def identity_bundle(tmp_path, bundles):
    """A function that restores a folder with the identity network by the committed inference.json."""

    def restore(dataset_dir: Path, **override) -> tuple[ConfigWorkflow, Path]:
        network, weights, out = Identity(), tmp_path / "identity.pt", tmp_path / "restored"
        torch.save(network.state_dict(), weights)
        settings = {"bundle_root": str(tmp_path), "dataset_dir": str(dataset_dir), "output_dir": str(out)}
        settings |= {"network_def": network, "pretrained_weights": str(weights), "patch_size": [16, 16, 8]}
        config = str(bundles / "universal_model_pretraining/configs/inference.json")
        settings |= {"device": DEVICE, "num_workers": 0, "workflow_type": "infer", "logging_file": False, **override}
        workflow = ConfigWorkflow(config, **settings)
        workflow.initialize()
        workflow.run()
        return workflow, out

    return restore


@pytest.mark.parametrize("grid", GRIDS)
def test_scan_comes_back_to_its_own_voxels(grid, tmp_path):
    directions, shape = GRIDS[grid]
    affine = affine_of(directions)
    voxels = smooth_scan(affine, shape)
    file = write_scan(tmp_path / "a.nii.gz", voxels, affine)
    data = read_and_normalize({"image": str(file), "modality": "ct", "other": 7})
    assert tuple(nibabel.aff2axcodes(data["image"].affine.numpy())) == ("R", "A", "S")
    assert data["other"] == 7
    native = ToOriginalSpaced("image", restore_intensity=True)(data)["image"]
    assert tuple(native.shape) == (1, *shape)
    np.testing.assert_allclose(native.affine, nibabel.load(file).affine, atol=1e-5)
    exact = np.allclose(np.linalg.norm(directions, axis=0), 1)
    inner = (slice(None),) * 3 if exact else tuple(slice(2, -2) for _ in shape)
    np.testing.assert_allclose(native[0].numpy()[inner], voxels[inner], atol=1e-2 if exact else 20)


@pytest.mark.parametrize(
    ("modality", "intensities", "limits"),
    [["ct", (-3024, 3000), (-1000, 1000)], ["mri", (30, 900), (30, 900)], ["mri", (-5, 9000), (0, 4000)]],
)
def test_intensities_come_back_to_the_unit_of_the_file(modality, intensities, limits, tmp_path, generator):
    low, high = intensities
    voxels = (low + (high - low) * torch.rand(12, 12, 12, generator=generator)).numpy()
    voxels[0, 0, :2] = intensities
    file = write_scan(tmp_path / "a.nii.gz", voxels, np.eye(4))
    data = read_and_normalize({"image": str(file), "modality": modality})
    native = ToOriginalSpaced("image", restore_intensity=True)(data)
    np.testing.assert_allclose(native["image"][0], voxels.clip(*limits), atol=1e-3 * (limits[1] - limits[0]))


def test_transforms_pass_over_missing_keys_only_when_told(tmp_path):
    file = write_scan(tmp_path / "a.nii.gz", smooth_scan(np.eye(4), (8, 8, 8)), np.eye(4))
    data = read_and_normalize({"image": str(file), "modality": "ct"})
    for transform in (ReadScand, ToOriginalSpaced):
        assert transform("pred", allow_missing_keys=True)(data) == data
        with pytest.raises(KeyError):
            transform("pred")(data)


def test_identity_network_restores_each_scan_of_a_folder(tmp_path, identity_bundle):
    scans = {}
    for name, grid in [["ct/a", "LPS"], ["ct/deep/b.x", "oblique"], ["mri/a", "SLA"]]:
        directions, shape = GRIDS[grid]
        affine = affine_of(directions)
        scans[name] = smooth_scan(affine, shape) + (1000 if name.startswith("mri") else 0)
        write_scan(tmp_path / f"scans/{name}.nii.gz", scans[name], affine)
    workflow, out = identity_bundle(tmp_path / "scans")
    assert workflow.check_properties() == []
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == sorted(f"{name}_{what}" for name in scans for what in ("features.npz", "restored.nii.gz"))
    for name, voxels in scans.items():
        restored = nibabel.load(out / f"{name}_restored.nii.gz")
        np.testing.assert_allclose(restored.get_fdata(), voxels, atol=0.02)
        np.testing.assert_allclose(restored.affine, nibabel.load(tmp_path / f"scans/{name}.nii.gz").affine, atol=1e-5)
        assert restored.get_data_dtype() == np.float32
        features = np.load(out / f"{name}_features.npz")
        assert features["source"] == str(tmp_path / f"scans/{name}.nii.gz")
        assert features["modality"] == name.split("/")[0]
        assert [features[f"level_{depth}"].shape for depth in (1, 2, 3, 4)] == [(1,)] * 4
        np.testing.assert_allclose(features["level_1"], features["level_4"], atol=1e-5)  # averages of averages


def test_features_are_the_mean_over_windows(tmp_path, identity_bundle, generator):
    voxels = (4000 * torch.rand(16, 16, 8, generator=generator)).numpy()  # one window
    voxels[0, 0, :2] = 0, 4000
    write_scan(tmp_path / "scans/mri/a.nii.gz", voxels, np.eye(4))
    _, out = identity_bundle(tmp_path / "scans")
    features = np.load(out / "mri/a_features.npz")
    levels = pool_levels(Halves()(torch.from_numpy(voxels / 4000)[None, None]))
    for depth, level in enumerate(levels, start=1):
        np.testing.assert_allclose(features[f"level_{depth}"], level[0].detach(), atol=1e-5)


def test_bad_scans_are_named_and_the_others_restored(tmp_path, identity_bundle, capsys):
    directions, shape = GRIDS["RAS"]
    good = write_scan(
        tmp_path / "scans/ct/good.nii.gz", smooth_scan(affine_of(directions), shape), affine_of(directions)
    )
    (tmp_path / "scans/ct/cut.nii.gz").write_bytes(good.read_bytes()[:5000])
    _, out = identity_bundle(tmp_path / "scans")
    assert (out / "ct/good_restored.nii.gz").is_file()
    assert not list(out.rglob("cut*"))
    assert "1 of 2 scans restored" in capsys.readouterr().out
    with raises_user_error("^1 of 2 scans skipped, listed above, and strict is true"):
        identity_bundle(tmp_path / "scans", strict="true")
    good.unlink()
    with raises_user_error("none is left"):
        identity_bundle(tmp_path / "scans")


def test_weights_of_another_width_are_named(tmp_path, identity_bundle):
    write_scan(tmp_path / "scans/ct/a.nii.gz", smooth_scan(np.eye(4), (16, 16, 8)), np.eye(4))
    with raises_user_error(r"^pretrained_weights: .*identity.pt has features"):
        identity_bundle(tmp_path / "scans", network_def=UniversalModel(features=FEATURES))
    with raises_user_error(r"^pretrained_weights: no file nowhere.pt"):
        identity_bundle(tmp_path / "scans", pretrained_weights="nowhere.pt")
    assert not list((tmp_path / "restored").rglob("*.nii.gz"))


@pytest.mark.parametrize("name", ["models/model.pt", "models", "."])
def test_weights_are_given_as_a_file_or_as_a_folder(name, tmp_path, identity_bundle):
    write_scan(tmp_path / "scans/ct/a.nii.gz", smooth_scan(np.eye(4), (16, 16, 8)), np.eye(4))
    network, trained = (UniversalModel(features=FEATURES, outputs="restoration") for _ in range(2))
    (tmp_path / "models").mkdir()
    torch.save(trained.state_dict(), tmp_path / "models/model.pt")
    identity_bundle(tmp_path / "scans", network_def=network, pretrained_weights=str(tmp_path / name))
    loaded, expected = (net.encoder.levels[0].conv1.weight.cpu() for net in (network, trained))
    assert torch.equal(loaded, expected)


@pytest.mark.parametrize("none", [None, "null", ""])
def test_without_weights_nothing_is_predicted(none, tmp_path, identity_bundle):
    write_scan(tmp_path / "scans/ct/a.nii.gz", smooth_scan(np.eye(4), (16, 16, 8)), np.eye(4))
    with raises_user_error("^pretrained_weights: no file .*: give a model.pt"):
        identity_bundle(tmp_path / "scans", pretrained_weights=none)


def test_another_recipe_than_in_training_warns(tmp_path, identity_bundle, caplog):
    write_scan(tmp_path / "scans/ct/a.nii.gz", smooth_scan(np.eye(4), (16, 16, 8)), np.eye(4))
    network = UniversalModel(features=FEATURES, outputs="restoration")
    passed = {"spacing": [1.0, 1.0, 1.0], "intensity_range": RANGES, "intensity_scale": SCALES}
    write_weights(tmp_path / "model.pt", network.state_dict(), complete(passed, network.state_dict()))
    settings = {"network_def": network, "pretrained_weights": str(tmp_path / "model.pt"), "features": FEATURES}
    for changed, line in (
        ({}, ""),
        ({"spacing": [2.0, 1.0, 1.0]}, "spacing [1.0, 1.0, 1.0], this run has [2.0, 1.0, 1.0]"),
        (
            {"intensity_range": {"ct": [-500, 500], "mri": [0, 4000]}},
            "this run has {'ct': [-500, 500], 'mri': [0, 4000]}",
        ),
    ):
        caplog.clear()
        identity_bundle(tmp_path / "scans", **settings, **changed)
        lines = [record.getMessage() for record in caplog.records if "was trained with" in record.getMessage()]
        assert len(lines) == bool(changed)
        assert all(line in found and "\n" not in found for found in lines)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        [{"spacing": [1.0, 1.0]}, "^spacing: .* is not three positive numbers"],
        [{"intensity_scale": {"ct": "range", "mri": "z"}}, "^intensity_scale: .*'z' is not one of"],
        [{"mial": "perhaps", "network_def": None}, "^mial: 'perhaps' is not a boolean"],
        [{"overlap": 1.5}, "^overlap: 1.5 is not within 0 and 1"],
    ],
)
def test_settings_are_checked(settings, message, tmp_path, identity_bundle):
    write_scan(tmp_path / "scans/ct/a.nii.gz", smooth_scan(np.eye(4), (16, 16, 8)), np.eye(4))
    with raises_user_error(message):
        identity_bundle(tmp_path / "scans", **settings)


def test_a_result_that_cannot_be_written_is_named(tmp_path, identity_bundle):
    write_scan(tmp_path / "scans/ct/a.nii.gz", smooth_scan(np.eye(4), (16, 16, 8)), np.eye(4))
    target = tmp_path / "restored/ct/a_restored.nii.gz"
    (target / "in the way").mkdir(parents=True)
    with raises_user_error(rf"^{tmp_path}/.*a_restored\.nii\.gz could not be written"):
        identity_bundle(tmp_path / "scans")
    assert [path.name for path in target.parent.iterdir()] == ["a_restored.nii.gz"]


def test_scan_loader_raises_what_is_no_scan_error():
    def broken(sample):
        raise ZeroDivisionError("a bug")

    with pytest.raises(RuntimeError) as caught:
        list(ScanLoader(Dataset([{"image": None}], broken)))
    assert isinstance(root_cause(caught.value), ZeroDivisionError)


def test_a_worker_that_dies_is_an_error_that_names_the_scans_in_progress():
    loader = ScanLoader(Dataset([{"image": "a.nii"}, {"image": "b.nii"}], lambda sample: os._exit(9)), num_workers=1)
    with pytest.raises(OSError, match=r"worker process died, .*possibly at a\.nii, b\.nii: use fewer num_workers"):
        list(loader)


def test_list_scans(tmp_path):
    for name in ("ct/a.nii.gz", "ct/deep/b.nii", "mri/c.nrrd", "pet/d.nii.gz", "ct/.hidden.nii.gz", "ct/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def named(scans):
        return [(Path(scan["image"]).relative_to(tmp_path).as_posix(), scan["modality"]) for scan in scans]

    both = [("ct/a.nii.gz", "ct"), ("ct/deep/b.nii", "ct"), ("mri/c.nrrd", "mri")]
    names = ["ct", "mri"]
    assert named(list_scans(tmp_path, modalities=names)) == both
    assert named(list_scans(tmp_path, "null", modalities=["mri"], modality="null")) == both[2:]
    assert named(list_scans(tmp_path / "ct/deep", modalities=names, modality="mri")) == [("ct/deep/b.nii", "mri")]
    datalist = tmp_path / "list.json"
    datalist.write_text('{"name": "x", "training": [{"image": "ct/a.nii.gz"}], "test": [{"image": "mri/c.nrrd"}]}')
    assert named(list_scans(tmp_path, datalist, modalities=names, modality="ct")) == [both[0], ("mri/c.nrrd", "ct")]


def test_results_below_the_scans_are_no_scans(tmp_path, caplog):
    for name in ("a.nii.gz", "eval/a_seg.nii.gz", "b/c.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for output_dir in (tmp_path / "eval", f"{tmp_path}/b/../eval/"):
        found = list_scans(tmp_path, output_dir=output_dir)
        assert [scan["case"] for scan in found] == ["a", "b/c"]
        assert "1 files in" in caplog.text
        caplog.clear()
    for output_dir in (tmp_path, tmp_path.parent, tmp_path.parent / "other"):
        assert len(list_scans(tmp_path, output_dir=output_dir)) == 3
    assert [scan["case"] for scan in list_scans(tmp_path / "eval", output_dir=tmp_path / "eval")] == ["a_seg"]


def test_list_scans_names_what_it_passes_over(tmp_path, caplog):
    for name in ("a.hdr", "a.img", "b.mgz", "c.nhdr", "d.mnc"):
        (tmp_path / name).touch()
    assert [scan["case"] for scan in list_scans(tmp_path)] == ["a", "b", "c"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'd.mnc'}: not a format that is read (1 such files): convert to .nii, .nii.gz"
    ]


def test_list_scans_of_a_task(tmp_path):
    for name in ("a.nii.gz", "deep/b.nii", "deep/c.mhd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [(Path(scan["image"]).relative_to(tmp_path).as_posix(), scan["case"]) for scan in list_scans(tmp_path)]
    assert found == [("a.nii.gz", "a"), ("deep/b.nii", "deep/b"), ("deep/c.mhd", "deep/c")]
    datalist = tmp_path / "list.json"
    datalist.write_text('{"test": [{"image": "deep/b.nii", "case": "one", "label": 1}]}')
    assert list_scans(tmp_path, datalist, "test") == [{"image": str(tmp_path / "deep/b.nii"), "case": "one"}]
    datalist.write_text('{"test": [{"image": "deep/b.nii", "case": "one"}, {"image": "deep/b.nii", "case": "two"}]}')
    with pytest.raises(ValueError, match=r"b\.nii: would be written over .*b\.nii's result"):
        list_scans(tmp_path, datalist, "test")


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        [[], {}, "dataset_dir: no scan in"],
        [["a.nii.gz"], {}, "dataset_dir: no scan in"],
        [["ct/a.nii.gz", "ct/a.nrrd"], {}, r"a\.nrrd: would be written over .*a\.nii\.gz's result"],
        [["ct/a.nii.gz"], {"modality": "pet"}, r"modality: 'pet' of .* is not one of \['ct', 'mri'\]"],
        [["ct/a.nii.gz"], {"datalist": "no.json"}, r"datalist: cannot read no\.json"],
    ],
)
def test_list_scans_names_what_is_wrong(files, settings, message, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        list_scans(tmp_path, modalities=["ct", "mri"], **settings)
    with pytest.raises(ValueError, match="is not a folder"):
        list_scans(tmp_path / "nowhere", modalities=["ct", "mri"])


def test_weights_load_strictly(tmp_path):
    network = UniversalModel(features=FEATURES)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    other = load_weights(UniversalModel(features=FEATURES), tmp_path / "model.pt")
    for left, right in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        [
            {"features": [8, 16, 32, 64]},
            r'has features \[4, 8, 16, 32\], the network .* give --features "\[4, 8, 16, 32\]"',
        ],
        [{"mial": False}, r"has unknown \d+ tensors of \['discriminator'\]"],
        [{"num_modalities": 3}, r"discriminator\.classifier\.output\.\w+ in .* is \[2"],
    ],
)
def test_weights_that_do_not_fit_are_named(settings, message, tmp_path):
    torch.save(UniversalModel(features=FEATURES).state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message) as caught:
        check_weights(UniversalModel(**{"features": FEATURES, **settings}), tmp_path / "model.pt")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_weights_are_named(tmp_path):
    network = UniversalModel(features=FEATURES)
    with pytest.raises(FileNotFoundError, match=r"pretrained_weights: no file .*none\.pt"):
        check_weights(network, tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.pt is unreadable"):
        check_weights(network, tmp_path / "text.pt")
    torch.save({"network": network.state_dict(), "optimizer": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"holds a mapping of .*, expected a plain state dict"):
        check_weights(network, tmp_path / "checkpoint.pt")


def test_command_line_from_another_folder(tmp_path, bundles):
    bundle = bundles / "universal_model_pretraining"
    affine = affine_of(GRIDS["anisotropic"][0])
    write_scan(tmp_path / "scans/mri/a.nii.gz", smooth_scan(affine, (20, 20, 8)) + 1000, affine)
    torch.save(UniversalModel(features=FEATURES, mial=False).state_dict(), tmp_path / "model.pt")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs/inference.json")]
    options = ["--bundle_root", str(bundle), "--dataset_dir", str(tmp_path / "scans"), "--output_dir", "out"]
    options += ["--pretrained_weights", "model.pt", "--features", "[4,8,16,32]", "--patch_size", "[16,16,8]"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options += ["--mial", "false", "--device", "cpu"]
    run = subprocess.run([*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert nibabel.load(tmp_path / "out/mri/a_restored.nii.gz").shape == (20, 20, 8)
    assert [np.load(tmp_path / "out/mri/a_features.npz")[f"level_{d}"].shape[0] for d in (1, 2, 3, 4)] == FEATURES


class Counted:
    """A loader of three scans, of which some cannot be read, and the evaluator that goes through them."""

    def __init__(self, *problems: str) -> None:
        self.dataset, self.problems, self.runs = range(3), [Unusable("a", problem) for problem in problems], 0

    def run(self) -> None:
        self.runs += 1


def test_a_run_says_how_many_scans_were_done_and_which_were_not(capsys):
    scans = Counted("a.nii: constant")
    run_inference(scans, scans, nn.Linear(1, 1), None, done="segmented")
    assert scans.runs == 1
    assert capsys.readouterr().out == "skipped: a.nii: constant\n2 of 3 scans segmented, 1 skipped\n"
    with pytest.raises(ValueError, match="1 of 3 scans skipped, listed above, and strict is true"):
        run_inference(scans, scans, nn.Linear(1, 1), "null", strict="true")
    report_skipped([], 0, 3, strict=True, done="volumes embedded")
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 3 volumes embedded"
    scans.problems *= 3
    with pytest.raises(ValueError, match="3 of 3 scans skipped, listed above, and none is left"):
        run_inference(scans, scans, nn.Linear(1, 1), None)
    with pytest.raises(ValueError, match="strict: 'perhaps' is not a boolean"):
        run_inference(scans, scans, nn.Linear(1, 1), None, strict="perhaps")
    assert scans.runs == 3


def test_what_was_skipped_is_reported_and_is_an_error_where_nothing_is_left(capsys):
    report_skipped(["a: broken"], 1, 3, False, "rows written")
    assert capsys.readouterr().out == "skipped: a: broken\n2 of 3 rows written, 1 skipped\n"
    for skipped, strict, why in ((1, True, "strict is true"), (3, False, "none is left")):
        with raises_user_error(f"{skipped} of 3 rows skipped, listed above, and {why}"):
            report_skipped(["a: broken"], skipped, 3, strict, "rows written")


def test_the_network_has_the_weights_that_were_checked(tmp_path):
    """Also those of an original checkpoint, whose file has other names: MONAI's loader would match none of them."""
    torch.save(original_state(FEATURES), tmp_path / "model.pt")
    network = UNet(1, 1, FEATURES, batch_statistics=True)
    expected = check_weights(network, tmp_path / "model.pt")
    assert not torch.equal(next(network.parameters()), next(iter(expected.values())))
    scans = Counted()
    run_inference(scans, scans, network, str(tmp_path / "model.pt"))
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
