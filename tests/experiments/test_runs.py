# SPDX-License-Identifier: Apache-2.0
"""A miniature experiment by the command: stopped in the middle, gone on with, and never done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from conftest import REPOSITORY
from miniature import miniature, write_miniature

from universal_model_components.experiments.jobs import RUN, Job, Step
from universal_model_components.experiments.processes import Processes
from universal_model_components.experiments.records import (
    commit_of,
    origin_of,
    pretraining_record,
    read_cases,
    read_curve,
    read_if_there,
    read_json,
    read_record,
    read_state,
    run_record,
)
from universal_model_components.experiments.runs import Options
from universal_model_components.experiments.scheduling import run_locally
from universal_model_components.experiments.status import state_of

EPOCHS = 6


def command(folder, *options):
    given = ["--output", folder / "out", "--data", folder, "--bundles", REPOSITORY / "bundles", *options]
    return [sys.executable, "-m", "universal_model_components", "experiment", "run", folder / "grid.json", *given]


def start(folder, *options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*map(str, command(folder, *options))], env=environment, stdout=pipe, stderr=pipe, text=True, cwd="/"
    )


def run(folder, *options):
    process = start(folder, *options)
    output, errors = process.communicate()
    return process.returncode, output, errors


def times(folder):
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*.log")}


def wait_for(found, process):
    while process.poll() is None and not list(found()):
        time.sleep(0.02)


@pytest.mark.slow
def test_an_experiment_is_stopped_and_resumed_and_its_finished_runs_are_kept(tmp_path):
    write_miniature(tmp_path, settings={**miniature()["settings"], "epochs": EPOCHS})
    out = tmp_path / "out"
    process = start(tmp_path)
    wait_for(lambda: out.glob("runs/*/models/checkpoint.pt"), process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted: stopped: run it again to resume" in errors.splitlines()[-1]
    assert not list(out.glob("runs/*/record.json"))
    [stopped] = out.glob("runs/*/train.log")

    status, _, errors = run(tmp_path)
    assert status == 0, errors
    assert "resume: continuing from" in stopped.read_text()
    records = {file.parent: json.loads(file.read_text()) for file in out.glob("runs/*/record.json")}
    experiment = json.loads((out / "experiment.json").read_text())
    assert {record["run"] for record in records.values()} == {entry["run"] for entry in experiment["runs"]}
    assert len(records) == 4
    for record in records.values():
        assert [row["epoch"] for row in record["curve"]] == list(range(1, EPOCHS + 1))
        assert set(record["cases"]) == {"validation"}
        assert record["seconds"] > 0
        assert record["peak_memory_mib"] > 100
        assert (record["pretraining"] is None) == (record["system"] == "scratch")
    [before] = out.glob("pretraining/*/record.json")
    probes = json.loads(before.read_text())["probes"]
    assert 0 <= probes["val_scale_accuracy"] <= 1
    assert 0 <= probes["linear_scale_level_4"] <= 1

    logs = times(out)
    before.unlink()
    shutil.rmtree(before.parent / "evaluation")  # as `evaluate` is not in the name: how probes are redone
    status, _, errors = run(tmp_path, "--test", "true", "--only", "system=universal,seed=0")
    assert status == 0, errors
    assert json.loads(before.read_text())["probes"] == probes
    [tested] = [file.parent for file in out.glob("runs/*/record.json") if "test" in read_record(file.parent)["cases"]]
    changed = {file for file, time in times(out).items() if logs.get(file) != time}
    assert changed == {tested / "test.log", before.parent / "evaluation.log"}  # no training again
    assert set(read_record(tested)["summary"]) == {"validation", "test"}


@pytest.mark.slow
def test_a_run_that_fails_is_named_with_its_log(tmp_path):
    pretraining = {**miniature()["pretraining"], "prepare": {"patch_size": [0, 0, 0]}}
    systems = {"scratch": {"settings": {"epochs": 0}}, "universal": {"pretraining": {}}}
    write_miniature(tmp_path, seeds=[0], pretraining=pretraining, systems=systems)
    status, output, errors = run(tmp_path)
    assert status == 1
    [log] = (tmp_path / "out").glob("runs/heart-scratch-*/train.log")
    lines = output.splitlines()
    assert any(
        "failed: train failed with exit code" in line and "epochs: 0" in line and str(log) in line for line in lines
    )
    assert sum("blocked: needs" in line for line in lines) == 2
    assert "experiment: 2 failed, 2 need what failed" in errors
    shown = [sys.executable, "-m", "universal_model_components", "experiment", "status", "--output"]
    result = subprocess.run([*shown, str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert f"failed: {log}" in result.stdout
    assert "0 of 2 runs finished, 1 failed" in result.stdout


def test_records_of_what_the_bundles_leave(tmp_path):
    (tmp_path / "output").mkdir()
    curve = tmp_path / "output" / "losses.csv"
    curve.write_text("epoch,step,loss,val_scale_accuracy\n1,10,0.5,0.25\n2,20,nan,\n")
    assert read_curve(curve) == [
        {"epoch": 1, "step": 10, "loss": 0.5, "val_scale_accuracy": 0.25},
        {"epoch": 2, "step": 20},
    ]
    probes = pretraining_record(tmp_path, {"run": "x"})["probes"]
    assert (probes["val_scale_accuracy"], probes["val_modality_accuracy"], probes["probe_auc"]) == (0.25, None, None)
    (tmp_path / "evaluation").mkdir()
    levels = {"1": {"clean": 0.5, "corrupted": 0.4}, "4": {"clean": 0.9, "corrupted": 0.8}}
    report = {"probes": {"scale": {"levels": levels}, "modality": {"skipped": "only one"}}}
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(report))
    probes = pretraining_record(tmp_path, {"run": "x"})["probes"]
    linear = {name: value for name, value in probes.items() if name.startswith("linear")}
    assert linear == {"linear_scale_level_1": 0.5, "linear_scale_level_4": 0.9}
    (tmp_path / "test").mkdir()
    table = "case,group,label,probability,reason\na,p,1,0.75,\na,p,0,0.5,\nb,,,,unreadable\n"
    (tmp_path / "test" / "evaluation.csv").write_text(table)
    (tmp_path / "test" / "evaluation.json").write_text('{"auc": 1.0}')
    cases = {"a": {"probability": 0.75, "label": 1}, "a#1": {"probability": 0.5, "label": 0}}
    assert read_cases(tmp_path / "test", "auc") == (
        {name: {**c, "group": "p"} for name, c in cases.items()},
        {"auc": 1.0},
    )
    with pytest.raises(ValueError, match=r"evaluation\.json: no 'iou': give the task \"metric\": one of \['auc'\]"):
        read_cases(tmp_path / "test", "iou")
    record = run_record(tmp_path, {"metric": "auc"}, ("test",))
    assert record["summary"] == {"test": {"auc": 1.0}}
    assert len(record["curve"]) == 2
    commit = commit_of(REPOSITORY)
    assert commit is None or len(commit) > 6
    assert commit_of(tmp_path) is None
    origin = origin_of({"device": "cpu"}, ["a", "b"])
    assert (origin["device"], origin["versions"]["commit"]) == ("cpu", "a, b")
    assert "torch" in origin["versions"]


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit_of(REPOSITORY) is None


def test_an_error_of_any_kind_ends_one_job_alone(tmp_path, monkeypatch):
    """What fails beside the steps is named, in the state and in a log too; the next job is done."""
    jobs = []
    for name, rows in (("broken", "case\na\n"), ("whole", "case,iou,dice,mean_iou,hd95_mm\na,0.5,0.6,0.5,3\n")):
        folder = tmp_path / name
        for part in ("output", "validation"):
            (folder / part).mkdir(parents=True)
        (folder / "output" / "losses.csv").write_text("step,val_iou\n1,0.5\n")
        (folder / "validation" / "evaluation.csv").write_text(rows)
        summary = {key: {"mean": 0.5} for key in ("iou", "dice", "mean_iou", "hd95_mm")}
        summary = summary if name == "whole" else {"iou": None}
        (folder / "validation" / "evaluation.json").write_text(json.dumps(summary))
        (folder / "state.json").write_text('{"done": ["train", "validation"]}')
        steps = tuple(
            Step(step, (), {"output_dir": str(folder / out)})
            for step, out in (("train", "output"), ("validation",) * 2)
        )
        jobs.append(Job(name, RUN, folder, steps, facts={"metric": "iou", "settings": {}}))
    outcomes = list(run_locally(jobs, Options(False, 1, tmp_path), 1, Processes()))
    assert [(one.name, one.status) for one in outcomes] == [("broken", "failed"), ("whole", "finished")]
    assert "TypeError" in outcomes[0].message
    assert "Traceback" in (tmp_path / "broken" / "record.log").read_text()
    assert state_of(tmp_path / "broken") == "failed"
    shutil.copy(tmp_path / "whole" / "validation" / "evaluation.json", tmp_path / "broken" / "validation")
    shutil.copy(tmp_path / "whole" / "validation" / "evaluation.csv", tmp_path / "broken" / "validation")
    (tmp_path / "file").touch()
    again = [jobs[0], replace(jobs[1], name="file", folder=tmp_path / "file")]
    outcomes = list(run_locally(again, Options(False, 1, tmp_path), 1, Processes()))
    assert [one.status for one in outcomes] == ["finished", "failed"]  # a file is no folder
    assert state_of(tmp_path / "broken") == "finished"
    assert read_record(tmp_path / "whole")["summary"] == {"validation": dict.fromkeys(summary, 0.5)}


def test_files_of_a_run(tmp_path):
    assert read_state(tmp_path) == read_record(tmp_path) == read_if_there(tmp_path / "x.json", "a grid") == {}
    with pytest.raises(ValueError, match=r"x\.json: cannot be read .*, expected a grid"):
        read_json(tmp_path / "x.json", "a grid")
    (tmp_path / "state.json").write_text("[]")
    with pytest.raises(ValueError, match=r"state\.json: holds a list, expected the state of a run"):
        read_state(tmp_path)
