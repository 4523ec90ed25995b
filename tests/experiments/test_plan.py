# SPDX-License-Identifier: Apache-2.0
"""Jobs of a grid: their order, their settings, what they share, and which of them are left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import REPOSITORY
from miniature import PRETRAINING, miniature, write_miniature

from universal_model_components.experiments.cases import read_datalist
from universal_model_components.experiments.grid import read_grid
from universal_model_components.experiments.jobs import Places, Step
from universal_model_components.experiments.plan import describe, make_jobs
from universal_model_components.experiments.pretrainings import EVALUATION, plan_pretrainings
from universal_model_components.experiments.runs import is_finished
from universal_model_components.experiments.scheduling import choose, read_filter, slurm_script, unfinished
from universal_model_components.experiments.status import print_status


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


OWN = {"scans": "own", "tasks": {"heart": {"epochs": 3}}}


def test_a_pretraining_on_a_tasks_own_scans_continues_another_one(tmp_path):
    names = [{job.name for job in planned(tmp_path / "plain")[1]}]
    heart = miniature()["tasks"]["heart"]
    systems = {
        "scratch": {},
        "own": {"pretraining": {**OWN, "continues": "universal"}},
        "universal": {"pretraining": {}},
    }
    grid, jobs = planned(tmp_path, systems=systems, tasks={"heart": heart, "again": {**heart, "people": "heart"}})
    names.append({job.name for job in jobs})
    assert names[0] <= names[1]  # names do not depend on what other systems and tasks there are
    order = [(job.kind, job.facts.get("system"), job.facts.get("task")) for job in jobs if job.facts["run"] in names[1]]
    assert order[1:6] == [
        ("store", None, None),
        ("pretraining", "universal", None),
        ("store", None, None),
        ("pretraining", "own", "heart"),
        ("run", "own", "heart"),
    ]
    universal, own, again = (job for job in jobs if job.kind == "pretraining")
    assert own.needs == (jobs[3].name, universal.name)
    assert own.name.startswith("own-heart-")
    assert again.facts["task"] == "again"
    train, evaluation = own.steps
    given = {"mial": False, "modalities": ["mri"], "epochs": 3, "pretrained_weights": str(universal.weights)}
    assert {key: train.settings[key] for key in given} == given
    assert "pretrained_weights" not in evaluation.settings
    assert evaluation.settings["output_dir"] == str(own.folder / EVALUATION)
    [prepare] = jobs[3].steps
    listed = json.loads(Path(prepare.settings["datalist"]).read_text())
    assert prepare.settings["modalities"] == ["mri"]
    assert [len(listed[split]) for split in ("training", "test")] == [3, 2]
    runs = {(job.facts["system"], job.facts["task"]): job for job in jobs if job.kind == "run"}
    for task, before in (("heart", own), ("again", again)):
        assert runs["own", task].steps[0].settings["pretrained_weights"] == str(before.weights)
    assert describe(grid, jobs)["pretrainings"][:2] == [
        {"run": universal.name, "system": "universal"},
        {"run": own.name, "system": "own", "task": "heart"},
    ]
    left = unfinished(choose(jobs, read_filter("system=own,task=heart,seed=0")), False)
    assert [job.kind for job in left] == ["store", "pretraining", "store", "pretraining", "run"]
    finish(own)
    assert [job.kind for job in unfinished(left, False)] == ["run"]


def test_what_a_pretraining_continues_is_in_its_name(tmp_path):
    systems = {"scratch": {}, "universal": {"pretraining": {}}, "own": {"pretraining": OWN}}
    systems["more"] = {"pretraining": {"continues": "own"}}
    before = planned(tmp_path, systems=systems)[1]
    systems["universal"] = {"pretraining": {"settings": {"epochs": 2}}}
    systems["more"] = {"pretraining": {"continues": "universal"}}
    after = planned(tmp_path, systems=systems)[1]
    names = [{job.facts["system"]: job.name for job in jobs if job.kind == "pretraining"} for jobs in (before, after)]
    assert names[0]["own"] == names[1]["own"]
    assert names[0]["more"].startswith("more-heart-")  # it is of a task as the one that it continues is
    assert len(set(names[0].values()) & set(names[1].values())) == 1


def test_own_scans_of_a_datalist_need_no_others(tmp_path):
    pretraining = {key: value for key, value in PRETRAINING.items() if key != "scans"}
    listed = {"nodules": {split: [{"image": f"{split}.nii", "label": 0}] for split in ("training", "validation")}}
    (tmp_path / "list.json").write_text(json.dumps(listed["nodules"]))
    task = {"bundle": "lung_nodule_ct_classification", "metric": "auc", "modality": "ct", "datalist": "list.json"}
    grid, _ = planned(
        tmp_path,
        pretraining=pretraining,
        systems={"scratch": {}, "own": {"pretraining": {"scans": "own"}}},
        tasks={"nodules": {**task, "dataset_dir": "LUNA"}},
    )
    before = plan_pretrainings(grid, listed, Places(tmp_path / "out", tmp_path, REPOSITORY / "bundles"))
    assert list(before) == [("own", "nodules")]
    content = json.loads(Path(before["own", "nodules"][0].steps[0].settings["datalist"]).read_text())
    found = {split: [(scan["image"], scan["modality"]) for scan in content[split]] for split in ("training", "test")}
    assert found == {"training": [("LUNA/training.nii", "ct")], "test": [("LUNA/validation.nii", "ct")]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        [
            {"settings": {**miniature()["settings"], "learning_rte": 0.01}},
            r"heart-scratch-.*: unknown settings: learning_rte \(did you mean learning_rate\?\)",
        ],
        [{"systems": {"scratch": {"settings": {"transfr": "encoder"}}}}, r"unknown settings: transfr \(.*transfer\?"],
        [
            {"pretraining": {**PRETRAINING, "settings": {"corruption::decresing": 0}}},
            "universal-.*: unknown settings: corruption::decresing",
        ],
        [
            {"pretraining": {**PRETRAINING, "prepare": {"patchsize": 3}}},
            r"cubes-.*: unknown settings: patchsize",
        ],
    ],
)
def test_a_setting_that_a_bundle_does_not_have_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"^experiment: .*{message}"):
        planned(tmp_path, **changes)


def test_settings_of_any_step_are_known(tmp_path):
    """Those of the evaluation alone, parts of a component, and additions to what is there."""
    settings = {**miniature()["settings"], "threshold": 0.4, "overlays": False, "optimizer::eps": 1e-7, "+imports": []}
    pretraining = {**PRETRAINING, "settings": {**PRETRAINING["settings"], "probe_cubes": 10, "corruption::inner": 0.5}}
    _, jobs = planned(tmp_path, settings=settings, pretraining=pretraining)
    assert all(step.settings["threshold"] == 0.4 for job in jobs if job.kind == "run" for step in job.steps)
    with pytest.raises(ValueError, match=r"unknown settings: \+import "):
        planned(tmp_path / "b", settings={**miniature()["settings"], "+import": []})


def test_labels_of_a_classification_that_keep_the_same_cases_are_one(tmp_path):
    """Beside a segmentation, whose steps an epoch are set."""
    training = [{"image": f"{number}.nii", "label": number % 2} for number in range(20)]
    (tmp_path / "list.json").write_text(json.dumps({"training": training, "validation": training[:2]}))
    task = {"bundle": "alzheimers_mri_classification", "metric": "auc", "modality": "mri", "datalist": "list.json"}
    tasks = {"adc": task, "heart": miniature()["tasks"]["heart"]}
    settings = {"device": "cpu", "batch_size": 2}
    _, jobs = planned(
        tmp_path,
        tasks=tasks,
        systems={"scratch": {}},
        settings=settings,
        labels=[2, 3, 4, 19, "all"],
        seeds=[0],
        steps_per_epoch=4,
    )
    found = [(job.facts["task"], job.facts["asked"], job.facts["labels"]) for job in jobs]
    assert [one for one in found if one[0] == "adc"] == [("adc", 2, 2), ("adc", 3, 4), ("adc", "all", 20)]
    assert [one for one in found if one[0] == "heart"] == [("heart", 2, 2), ("heart", "all", 3)]
    assert ["cubes_per_case" in job.steps[0].settings for job in jobs] == [job.facts["task"] == "heart" for job in jobs]


def test_runs_that_normalize_alike_share_their_scans(tmp_path):
    listed = {split: [{"image": f"{split}.nii", "label": 0}] for split in ("training", "validation")}
    (tmp_path / "list.json").write_text(json.dumps(listed))
    task = {"bundle": "alzheimers_mri_classification", "metric": "auc", "modality": "mri", "datalist": "list.json"}
    systems = {
        "scratch": {},
        "rate": {"settings": {"learning_rate": 0.1}},
        "coarse": {"settings": {"spacing": [3, 3, 3]}},
        "nested": {"settings": {"scans::spacing": [3, 3, 3]}},
        "follows": {"settings": {"follow_pretraining": True}, "weights": "a.pt"},
        "follows_another": {"settings": {"follow_pretraining": True}, "weights": "b.pt"},
        "other": {"weights": "b.pt"},
        "mine": {"settings": {"cache_dir": "/mine"}},
    }
    settings = {"device": "cpu"}
    _, jobs = planned(tmp_path, tasks={"adc": task}, systems=systems, settings=settings, labels=["all"], seeds=[0])
    folders = {job.facts["system"]: job.steps[0].settings["cache_dir"] for job in jobs}
    assert folders["scratch"] == folders["rate"] == folders["other"]
    assert len({folders[name] for name in ("scratch", "coarse", "nested", "follows", "follows_another", "mine")}) == 6
    assert folders["scratch"].startswith(str(tmp_path / "out" / "caches" / "adc-"))
    assert folders["mine"] == "/mine"


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


def test_status_names_the_systems_of_a_shared_pretraining(tmp_path, capsys):
    systems = {
        "universal": {"pretraining": {}},
        "scratch": {},
        "same": {"pretraining": {}},
        "own": {"pretraining": OWN},
    }
    grid, jobs = planned(tmp_path, systems=systems, seeds=[0])
    (tmp_path / "out" / "experiment.json").write_text(json.dumps(describe(grid, jobs)))
    shared, own = (job for job in jobs if job.kind == "pretraining")
    finish(own)
    print_status(tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert f"  {shared.name}: left (of universal, same)" in lines
    assert f"  {own.name}: finished" in lines


def test_filters(tmp_path):
    _, jobs = planned(tmp_path)
    chosen = choose(jobs, read_filter("system=scratch, seed=1"))
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
    with pytest.raises(ValueError, match=r"only: seed is given twice: write seed=VALUE\|VALUE"):
        read_filter("seed=0,seed=1")
    with pytest.raises(ValueError, match="plan: stores alone are no array"):
        slurm_script([job for job in jobs if job.kind == "store"], "mini", [], 4)
    for wrong, named in (("seed=9", r"seed \['9'\]: give \['0', '1'\]"), ("system=scratch|none", r"system \['none'\]")):
        with pytest.raises(ValueError, match=f"only: no run has {named}"):
            choose(jobs, read_filter(wrong))
    with pytest.raises(ValueError, match=r"only: no run has \{.*'seed': \['0'\]"):
        choose(jobs, read_filter(f"run={chosen[0].name},seed=0"))


def test_a_slurm_script_has_a_line_for_each_run(tmp_path):
    _, jobs = planned(tmp_path)
    lines = slurm_script(jobs, "mini", ["grid.json", "--output", "a b"], 4).splitlines()
    assert "#SBATCH --array=0-4" in lines
    assert "#SBATCH --cpus-per-task=4" in lines
    assert "##SBATCH --gres=gpu:1" in lines  # a comment, until somebody wants it
    names = [line.strip() for line in lines[lines.index("runs=(") + 1 : lines.index(")")]]
    assert names == [job.name for job in sorted(jobs, key=lambda job: job.kind == "run") if job.kind != "store"]
    assert lines[-1].endswith("""run grid.json --output 'a b' --only "run=${runs[$SLURM_ARRAY_TASK_ID]}\"""")


def test_a_missing_bundle_is_named(tmp_path):
    grid = read_grid(str(write_miniature(tmp_path)))
    with pytest.raises(ValueError, match=r"bundles: no file .*--bundles DIR"):
        make_jobs(grid, Places(tmp_path / "out", tmp_path, tmp_path))
