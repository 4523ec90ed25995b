# SPDX-License-Identifier: Apache-2.0
"""The example apps of docs/examples on a DICOM series made from a real scan: `make test-deploy`."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import REPOSITORY
from integration.copies import halve_mask, with_weights
from integration.environments import NotInstallable, environment, interpreter
from integration.scans import CT, MRI, cut

from universal_model_components.imaging.normalization import load_scan

FEATURES, PATCH = [4, 8, 16, 32], [32, 32, 32]
SEGMENTATION = sorted(folder.name for folder in (REPOSITORY / "bundles").glob("*_segmentation"))
CLASSIFICATION = sorted(folder.name for folder in (REPOSITORY / "bundles").glob("*_classification"))
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return interpreter("deploy")
    except NotInstallable as error:
        pytest.skip(f"MONAI Deploy App SDK: {error}")


def call(command: list, **variables: str) -> str:
    """Run a command; its output, or an error with the end of it."""

    def deep_stack() -> None:  # Holoscan warns of crashes below 32 MB
        _, hard = resource.getrlimit(resource.RLIMIT_STACK)
        resource.setrlimit(resource.RLIMIT_STACK, (hard if 0 < hard < 2**25 else 2**25, hard))

    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment() | variables,
        preexec_fn=deep_stack,
        timeout=560,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def cases(python, real_data, tmp_path_factory) -> dict[str, Path]:
    """By modality a folder with scans/a.nii.gz (whole numbers, axes that are no scanner's axial) and dicom/."""
    found = {}
    for modality, source, start, axes in (("CT", CT, (60, 90, 60), "SAR"), ("MR", MRI, (40, 40, 30), None)):
        folder = tmp_path_factory.mktemp(modality)
        part = nibabel.load(cut(real_data / source, folder / "part.nii.gz", start, (36, 32, 24)))
        if axes is not None:  # a coronal-like series, as a reformatting workstation would send it
            wanted = nibabel.orientations.axcodes2ornt(axes)
            part = part.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(part.affine), wanted))
        file = folder / "scans/a.nii.gz"
        file.parent.mkdir()
        nibabel.save(nibabel.Nifti1Image(np.rint(part.get_fdata()).astype(np.int16), part.affine), file)
        call([python, HERE / "dicom_files.py", "series", file, folder / "dicom", modality])
        found[modality] = folder
    return found


def modality_of(name: str) -> str:
    return "CT" if "_ct_" in name else "MR"


def window(name: str) -> tuple:
    return ((-1000, 1000), "range") if "_ct_" in name else ((0, 4000), "volume")


def command_line(bundle: Path, case: Path, output: Path, *further: str) -> Path:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", bundle / "configs/inference.json"]
    command += ["--bundle_root", bundle, "--dataset_dir", case / "scans", "--output_dir", output]
    call([*command, "--num_workers", "0", *further])
    return output


def torchscript(bundle: Path, folder: Path) -> Path:
    """Export as the bundle's README says."""
    command = [sys.executable, "-m", "monai.bundle", "ckpt_export", "network_def", "--filepath", folder / "model.ts"]
    command += ["--ckpt_file", bundle / "models/model.pt", "--meta_file", bundle / "configs/metadata.json"]
    call([*command, "--config_file", bundle / "configs/inference.json"])
    return folder / "model.ts"


def test_series_is_not_axial(cases, python):
    for case in cases.values():
        code = "import pydicom,sys; print(*pydicom.dcmread(sys.argv[1]).ImageOrientationPatient)"
        cosines = [float(v) for v in call([python, "-c", code, case / "dicom/0000.dcm"]).split()]
        assert not np.allclose(np.abs(cosines), [1, 0, 0, 0, 1, 0], atol=0.1)


@pytest.mark.parametrize("form", ["folder", "model.ts"])
@pytest.mark.parametrize("name", SEGMENTATION)
def test_dicom_seg_is_the_command_lines_mask(name, form, cases, bundles, tmp_path, python):
    case = cases[modality_of(name)]
    bundle = with_weights(bundles / name, tmp_path, features=FEATURES, patch_size=PATCH)
    halve_mask(bundle, load_scan(case / "scans/a.nii.gz", *window(name)).volume)
    (own,) = command_line(bundle, case, tmp_path / "own").rglob("*.nii.gz")
    model = bundle if form == "folder" else torchscript(bundle, tmp_path)
    app = REPOSITORY / "docs/examples/deploy_segmentation.py"
    call([python, app, "-i", case / "dicom", "-o", tmp_path / "out"], BUNDLE=str(model))
    (seg,) = (tmp_path / "out").rglob("*.dcm")
    call([python, HERE / "dicom_files.py", "mask", seg, case / "scans/a.nii.gz", tmp_path / "mask.npy"])
    mask, expected = np.load(tmp_path / "mask.npy"), np.asarray(nibabel.load(own).dataobj)
    assert 0.2 < expected.mean() < 0.8
    # positions in DICOM are decimal strings of 16 characters: a voxel at the threshold may fall to the other side
    assert (mask != expected).mean() < 1e-3


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_report_has_the_command_lines_probability(name, cases, bundles, tmp_path, python):
    case, further = cases[modality_of(name)], []
    bundle = with_weights(bundles / name, tmp_path, features=FEATURES, patch_size=PATCH)
    if name == "lung_nodule_ct_classification":  # an app knows no candidates and takes the cube in the middle
        scan = load_scan(case / "scans/a.nii.gz", *window(name))
        middle = scan.affine @ [*(side // 2 for side in scan.volume.shape), 1]
        row = ["a", -middle[0], -middle[1], middle[2]]
        (tmp_path / "candidates.csv").write_text("seriesuid,coordX,coordY,coordZ\n" + ",".join(map(str, row)) + "\n")
        further = ["--candidates", tmp_path / "candidates.csv"]
    (table,) = command_line(bundle, case, tmp_path / "own", *further).rglob("*.csv")
    (row,) = csv.DictReader(table.open())
    app = shutil.copy(REPOSITORY / "docs/examples/deploy_classification.py", tmp_path)
    shutil.copy(REPOSITORY / "docs/examples/deploy_segmentation.py", tmp_path)
    call([python, app, "-i", case / "dicom", "-o", tmp_path / "out"], BUNDLE=str(bundle))
    scores = json.loads((tmp_path / "out/report.json").read_text())["probabilities"]
    assert list(scores.values())[1] == pytest.approx(float(row["probability"]), abs=1e-5)
    (report,) = (tmp_path / "out").rglob("*.dcm")
    text = call([python, HERE / "dicom_files.py", "text", report])
    assert text.startswith("SR\n")
    assert all(name in text for name in scores)
