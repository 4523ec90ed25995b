# SPDX-License-Identifier: Apache-2.0
"""Jobs of a grid: their order, their settings, what they share, and which of them are left."""

from __future__ import annotations

import json

import pytest
from conftest import REPOSITORY
from miniature import PRETRAINING, write_miniature

from universal_model_components.experiments.cases import read_datalist
from universal_model_components.experiments.grid import read_grid
from universal_model_components.experiments.jobs import Places, Step
from universal_model_components.experiments.plan import describe, make_jobs
from universal_model_components.experiments.runs import is_finished
from universal_model_components.experiments.scheduling import choose, read_filter, slurm_script, unfinished


def planned(folder, **changes):
    grid = read_grid(str(write_miniature(folder, **changes)))
    return grid, make_jobs(grid, Places(folder / "out", folder, REPOSITORY / "bundles"))


def finish(job, **record):
    job.folder.mkdir(parents=True)
    (job.folder / "record.json").write_text(json.dumps({"run": job.name, **record}))


def test_the_comparison_is_useful_early(tmp_path):
    systems = {"universal": {"pretraining": {}}, "scratch": {}, "same": {"pretraining": {}, "settings": {"epochs": 3}}}
    grid, jobs = planned(tmp_path, systems=systems, labels=[1, 2, 7, "all"])
    order = [(job.kind, job.facts.get("system"), job.facts.get("seed"), job.facts.get("labels")) for job in jobs]
    assert order[:6] == [
        ("run", "scratch", 0, 1),
        ("store", None, None, None),
        ("pretraining", "universal", None, None),
        ("run", "universal", 0, 1),
        ("run", "same", 0, 1),
        ("run", "scratch", 0, 2),
    ]
    assert [job.kind for job in jobs].count("pretraining") == 1  # "same" starts from the weights of "universal"
    assert {job.facts["labels"] for job in jobs if job.kind == "run"} == {1, 2, 3}  # 7 cases are not there
    entry = describe(grid, jobs)["runs"][0]
    assert entry["label_fraction"] == pytest.approx(1 / 3)
    assert entry["pretraining"] is None
    assert describe(grid, jobs)["pretrainings"] == [{"run": jobs[2].name, "system": "universal"}]


def test_names_depend_on_settings_and_not_on_folders(tmp_path):
    names = [{job.name for job in planned(tmp_path / place)[1]} for place in ("a", "b")]
    assert names[0] == names[1]
    settings = {**PRETRAINING["settings"], "epochs": 2}
    changed = {job.name for job in planned(tmp_path / "c", pretraining={**PRETRAINING, "settings": settings})[1]}
    assert len(changed & names[0]) == 3  # the store, and two runs from scratch


def test_a_changed_list_of_pretraining_scans_makes_another_store_and_pretraining(tmp_path):
    pretraining = {key: value for key, value in PRETRAINING.items() if key != "scans"} | {"datalists": ["list.json"]}
    names = []
    for image in ("a.nii.gz", "b.nii.gz"):
        (tmp_path / "list.json").write_text(json.dumps({"training": [{"image": image}]}))
        names.append({job.name for job in planned(tmp_path, pretraining=pretraining)[1]})
    assert len(names[0] & names[1]) == 2  # two runs from scratch
    (tmp_path / "list.json").unlink()
    with pytest.raises(ValueError, match=r"pretraining: datalist .*list\.json cannot be read"):
        planned(tmp_path, pretraining=pretraining)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match=r"^pretraining: datalist .*list\.json holds no mapping"):
        read_datalist("pretraining", tmp_path / "list.json")


def test_settings_of_system_and_task_and_steps(tmp_path):
    systems = {"scratch": {"settings": {"learning_rate": 0.01}, "tasks": {"heart": {"epochs": 5}}}}
    _, jobs = planned(tmp_path, systems=systems, steps_per_epoch=6, labels=["all"], label_noise=[2], pretraining=None)
    train, *evaluations = jobs[0].steps
    assert isinstance(train, Step)
    wanted = {"learning_rate": 0.01, "epochs": 5, "cubes_per_case": 4, "label_noise": 2, "seed": 0, "resume": True}
    assert {key: train.settings[key] for key in wanted} == wanted
    assert [step.settings["split"] for step in evaluations] == ["validation", "test"]


def test_a_system_has_its_own_configs_weights_and_cubes(tmp_path):
    systems = {
        "scratch": {},
        "i3d": {"configs": ["systems/i3d.json"], "weights": "i3d.pt"},
        "universal": {"pretraining": {}},
        "rotation": {"pretraining": {"configs": ["train.json", "train_rotation.json"], "prepare": {"seed": 7}}},
    }
    _, jobs = planned(tmp_path, systems=systems, labels=["all"], seeds=[0])
    runs = {job.facts["system"]: job for job in jobs if job.kind == "run"}
    files = [[file.rsplit("/configs/")[1] for file in step.configs] for step in runs["i3d"].steps]
    assert files == [["train.json", "systems/i3d.json"], *[["train.json", "systems/i3d.json", "evaluate.json"]] * 2]
    assert runs["i3d"].steps[0].settings["pretrained_weights"] == str(tmp_path / "i3d.pt")
    assert runs["i3d"].steps[1].settings["pretrained_weights"].endswith("/models/model.pt")
    stores = [job for job in jobs if job.kind == "store"]
    assert [store.steps[0].settings.get("seed") for store in stores] == [None, 7]
    rotation = next(job for job in jobs if job.kind == "pretraining" and job.facts["system"] == "rotation")
    assert rotation.needs == (stores[1].name,)
    assert rotation.steps[0].configs[1].endswith("train_rotation.json")


def test_what_is_left(tmp_path):
    _, jobs = planned(tmp_path)
    store, before = (next(job for job in jobs if job.kind == kind) for kind in ("store", "pretraining"))
    runs = [job for job in jobs if job.kind == "run"]
    assert unfinished(jobs, False) == jobs
    finish(before)
    assert unfinished(jobs, False) == runs  # of a finished pre-training, the store is not needed
    finish(runs[0], cases={"validation": {}})
    assert unfinished(jobs, False) == runs[1:]
    assert not is_finished(runs[0], test=True)
    assert unfinished(jobs, True) == runs
    assert store not in unfinished(jobs, True)


def test_filters(tmp_path):
    _, jobs = planned(tmp_path)
    chosen = choose(jobs, read_filter("system=scratch|none, seed=1"))
    assert [(job.facts["system"], job.facts["seed"]) for job in chosen] == [("scratch", 1)]
    assert [job.kind for job in choose(jobs, read_filter("system=universal,seed=0"))] == ["store", "pretraining", "run"]
    assert choose(jobs, read_filter(None)) == jobs
    before = next(job for job in jobs if job.kind == "pretraining")
    assert [job.kind for job in choose(jobs, read_filter(f"run={before.name}"))] == ["store", "pretraining"]
    assert [job.kind for job in choose(jobs, read_filter("kind=pretraining,system=universal"))] == [
        "store",
        "pretraining",
    ]
    for wrong in ("sytem=a", "seed"):
        with pytest.raises(ValueError, match=r"only: .*KEY=VALUE"):
            read_filter(wrong)
    with pytest.raises(ValueError, match="only: no run has"):
        choose(jobs, read_filter("seed=9"))


def test_a_slurm_script_has_a_line_for_each_run(tmp_path):
    _, jobs = planned(tmp_path)
    lines = slurm_script(jobs, "mini", ["grid.json", "--output", "a b"], 4).splitlines()
    assert "#SBATCH --array=0-4" in lines
    assert "#SBATCH --cpus-per-task=4" in lines
    names = [line.strip() for line in lines[lines.index("runs=(") + 1 : lines.index(")")]]
    assert names == [job.name for job in sorted(jobs, key=lambda job: job.kind == "run") if job.kind != "store"]
    assert lines[-1].endswith("""run grid.json --output 'a b' --only "run=${runs[$SLURM_ARRAY_TASK_ID]}\"""")


def test_a_missing_bundle_is_named(tmp_path):
    grid = read_grid(str(write_miniature(tmp_path)))
    with pytest.raises(ValueError, match=r"bundles: no file .*--bundles DIR"):
        make_jobs(grid, Places(tmp_path / "out", tmp_path, tmp_path))
