# SPDX-License-Identifier: Apache-2.0
"""Evaluation and inference of LNC and ADC: a row a sample or a subject, from each scan read once."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest
import torch
from classification_tasks import ADC, LNC
from luna import world, write_luna16, write_metaimage
from task_bundles import SMALL, change_datalist, read_json, rows, trained_network
from user_errors import raises_user_error

import universal_model_components.imaging.transforms as task_transforms
from universal_model_components.imaging.normalization import load_scan
from universal_model_components.imaging.reading import read_scan
from universal_model_components.inference.inputs import list_candidates
from universal_model_components.tasks.candidates import cut_cube, nearest_voxels

EVALUATE = ("train", "evaluate")


@pytest.mark.parametrize("task", [LNC, ADC])
def test_evaluation_writes_a_row_a_sample_and_a_summary(task, small, tmp_path):
    small.run(task, *EVALUATE, bootstrap=50)
    found = rows(tmp_path / "output" / "evaluation.csv")
    summary = read_json(tmp_path / "output" / "evaluation.json")
    expected = read_json(small.data(task) / "datalist.json")["test"]
    labels = [c[3] for e in expected for c in e["candidates"]] if task == LNC else [e["label"] for e in expected]
    assert [int(row["label"]) for row in found] == labels
    assert summary["samples"] == len(labels)
    assert 0 <= summary["auc"] <= 1
    assert summary["weights"] == small.weights(task)
    for name in ("roc.png", "confusion.png"):
        assert (tmp_path / "output" / name).stat().st_size > 5000


def test_evaluation_reports_a_class_that_is_missing(small, tmp_path, caplog):
    datalist = change_datalist(small.data(ADC), tmp_path, lambda content: content["test"].pop())
    small.run(ADC, *EVALUATE, datalist=datalist)
    assert read_json(tmp_path / "output" / "evaluation.json")["auc"] is None
    assert "no positive sample among 1" in caplog.text


@pytest.mark.parametrize("configs", [EVALUATE, ("inference",)])
@pytest.mark.parametrize("task", [LNC, ADC])
def test_another_spacing_than_in_training_warns(task, configs, small, caplog):
    there = SMALL[task].get("spacing", [1.0, 1.0, 1.0])
    for spacing, warned in ((there, False), ([7.0, 8.0, 8.0], True)):
        caplog.clear()
        small.run(task, *configs, spacing=spacing)
        lines = [record.getMessage() for record in caplog.records if "was trained with" in record.getMessage()]
        assert len(lines) == warned
        assert all(f"was trained with spacing {there}, this run has {spacing}" in line for line in lines)


def test_inference_writes_a_submission_and_reads_each_scan_once(small, tmp_path, monkeypatch):
    network = trained_network(LNC, small.trained(LNC))  # before reading is counted
    calls, original = [], task_transforms.make_scan
    monkeypatch.setattr(task_transforms, "make_scan", lambda file, *rest: calls.append(file) or original(file, *rest))
    small.run(LNC, "inference")
    assert len(calls) == len(set(calls)) == 4
    text = (tmp_path / "eval" / "submission.csv").read_text()
    assert text.splitlines()[0] == "seriesuid,coordX,coordY,coordZ,probability"
    found, given = rows(tmp_path / "eval" / "submission.csv"), rows(small.data(LNC) / "candidates.csv")
    names = ("seriesuid", "coordX", "coordY", "coordZ")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in given]
    for row in found[::7]:
        scan = load_scan(small.data(LNC) / "subset0" / f"{row['seriesuid']}.mhd", (-1000, 1000), "range")
        (center,) = nearest_voxels([[float(row[name]) for name in names[1:]]], scan.affine)
        cube = torch.from_numpy(cut_cube(scan.volume.numpy(), center, (16, 16, 16)))
        with torch.no_grad():
            probability = float(network(cube[None, None]).softmax(dim=1)[0, 1])
        assert float(row["probability"]) == pytest.approx(probability, abs=1e-5)


def test_inference_of_one_scan_with_a_list_of_its_own(small, tmp_path):
    entry = read_json(small.data(LNC) / "datalist.json")["test"][0]
    listed = tmp_path / "mine.csv"
    x, y, z, _ = entry["candidates"][2]
    listed.write_text(f"seriesuid,coordX,coordY,coordZ\n{entry['seriesuid']},{x},{y},{z}\n1.2.3,0,0,0\n")
    settings = {"dataset_dir": small.data(LNC) / entry["image"], "candidates": listed}
    small.run(LNC, "inference", **settings)
    assert len(rows(tmp_path / "eval" / "submission.csv")) == 1
    with raises_user_error(r"1 of 2 series of .*mine.csv have no scan, first: 1.2.3"):
        small.run(LNC, "inference", strict="true", **settings)


def test_inference_names_a_scan_whose_candidates_lie_outside(small, tmp_path, capsys):
    data = small.data(LNC)
    uids = [read_json(data / "datalist.json")[split][0]["seriesuid"] for split in ("test", "training")]
    given = [row for row in rows(data / "candidates.csv") if row["seriesuid"] in uids]
    given[-1]["coordX"] = "9999"
    with (tmp_path / "candidates.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(given[0]))
        table.writeheader()
        table.writerows(given)
    small.run(LNC, "inference", candidates=tmp_path / "candidates.csv")
    printed = capsys.readouterr().out
    assert f"skipped: candidates: 1 of 5 lie outside {data}" in printed
    assert "1 of 2 scans classified" in printed
    assert len(rows(tmp_path / "eval" / "submission.csv")) == 5


def test_inference_of_subjects_agrees_with_evaluation(small, tmp_path):
    small.run(ADC, *EVALUATE)
    small.run(ADC, "inference", datalist=small.data(ADC) / "datalist.json")
    assert (tmp_path / "eval" / "predictions.csv").read_text().startswith("subject,probability\nsubject_6,")
    found, evaluated = rows(tmp_path / "eval" / "predictions.csv"), rows(tmp_path / "output" / "evaluation.csv")
    assert [row["subject"] for row in found] == [row["case"] for row in evaluated] == ["subject_6", "subject_7"]
    for ours, theirs in zip(found, evaluated, strict=True):  # the same cubes, in batches of another size
        assert float(ours["probability"]) == pytest.approx(float(theirs["probability"]), abs=1e-6)
    small.run(ADC, "inference")
    assert len(rows(tmp_path / "eval" / "predictions.csv")) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ["seriesuid,coordX,coordY\n1,2,3\n", "lacks the column 'coordZ'"],
        ["seriesuid,coordX,coordY,coordZ\n1.2.3,2,3,4\n", r"no series of .*list.csv has a scan in .* \(first: 1.2.3\)"],
    ],
)
def test_lists_that_cannot_be_classified(text, message, small, tmp_path):
    (tmp_path / "list.csv").write_text(text)
    with raises_user_error(message):
        small.run(LNC, "inference", candidates=tmp_path / "list.csv")


def test_two_scans_of_a_series_are_not_chosen_from(tmp_path):
    series = write_luna16(tmp_path, scans=1)[0]["seriesuid"]
    (tmp_path / "copy").mkdir()
    for file in (tmp_path / "subset0").iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=rf"{series}.mhd are both the scan of a series: remove one"):
        list_candidates(str(tmp_path))


def test_oblique_and_flipped_scans_are_classified_alike(small, tmp_path):
    """A scan whose voxels are stored in another order gives each of its candidates the same probability."""
    entry = write_luna16(tmp_path / "one", scans=1)[0]
    voxels, affine = read_scan(tmp_path / "one" / entry["image"])
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine))
    uid = entry["seriesuid"]
    file = write_metaimage(tmp_path / "two" / f"{uid}.mhd", np.asarray(turned.dataobj), turned.affine)
    assert not np.allclose(turned.affine, affine)
    x, y, z, _ = entry["candidates"][0]
    here = np.linalg.solve(turned.affine[:3, :3], np.array([-x, -y, z]) - turned.affine[:3, 3])
    assert world(here, turned.affine) == pytest.approx([x, y, z])
    answers = []
    for folder in (tmp_path / "one", file.parent):
        (folder / "candidates.csv").write_text((tmp_path / "one" / "candidates.csv").read_text())
        small.run(LNC, "inference", bundle_root=folder, dataset_dir=folder)
        answers.append([float(row["probability"]) for row in rows(folder / "eval" / "submission.csv")])
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)
