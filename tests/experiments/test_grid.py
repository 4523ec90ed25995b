# SPDX-License-Identifier: Apache-2.0
"""Grids: the provided ones, and mistakes in a user's."""

from __future__ import annotations

import json

import pytest
from conftest import REPOSITORY
from miniature import miniature
from monai.bundle import ConfigParser

from universal_model_components.experiments.grid import provided_grids, read_grid

HEART = miniature()["tasks"]["heart"]
ADC = {"bundle": "alzheimers_mri_classification", "metric": "auc", "modality": "mri", "datalist": "adc.json"}


def test_the_provided_grids_name_bundles_that_exist():
    assert set(provided_grids()) == {"open", "table_3", "table_4", "table_5", "figure_4", "figure_5", "released"}
    for name in provided_grids():
        grid = read_grid(name)
        assert grid["name"] == {"released": "open"}.get(name, name)  # the name decides the split
        assert len(grid["seeds"]) >= 5
        for task in grid["tasks"].values():
            keys = json.loads((REPOSITORY / "bundles" / task["bundle"] / "configs" / "train.json").read_text())
            assert set(task.get("settings", {})) | set(grid["settings"]) <= set(keys), name
    assert read_grid("figure_5")["labels"] == [0.1, 0.3, 0.7, "all"]
    assert read_grid("table_5")["label_noise"] != [0]


def test_the_released_weights_are_those_of_their_grid():
    bundle, parser = REPOSITORY / "bundles" / "universal_model_pretraining", ConfigParser()
    pretraining = read_grid("released")["pretraining"]
    parser.read_config([str(bundle / "configs" / name) for name in pretraining["configs"]])
    parser.update(pretraining["settings"])
    provenance = json.loads((bundle / "models" / "model.provenance.json").read_text())
    corruption = parser.get_parsed_content("corruption")
    assert {name: getattr(corruption, name) for name in provenance["corruption"]} == provenance["corruption"]
    for key in ("features", "seed", "alpha", "beta", "unchanged_weight", "reversal", "amp"):
        assert parser.get_parsed_content(key) == provenance[key], key
    prepare = pretraining["prepare"]
    assert {key: provenance["recipe"][key] for key in prepare if key in provenance["recipe"]} == {
        key: value for key, value in prepare.items() if key in provenance["recipe"]
    }


def test_what_a_grid_leaves_out_is_filled_in(tmp_path):
    (tmp_path / "mine.json").write_text(
        json.dumps({key: miniature()[key] for key in ("tasks", "pretraining")} | {"systems": {"scratch": {}}})
    )
    grid = read_grid(str(tmp_path / "mine.json"))
    assert (grid["name"], grid["baseline"], grid["seeds"], grid["labels"]) == ("mine", "scratch", [0], ["all"])


def test_a_grid_extends_another_as_configs_are_merged(tmp_path):
    wide = {"extends": "open", "settings::features": [16, 32], "+systems": {"other": {"title": "Other"}}}
    wider = {"extends": "wide.json", "settings::features": [32, 64], "labels": [3]}
    for name, changes in (("wide", wide), ("wider", wider)):
        (tmp_path / f"{name}.json").write_text(json.dumps(changes))
    grid, base = read_grid(str(tmp_path / "wider.json")), read_grid("open")
    assert grid["settings"] == {**base["settings"], "features": [32, 64]}
    assert grid["systems"] == {**base["systems"], "other": {"title": "Other"}}
    assert (grid["name"], grid["labels"]) == ("open", [3])
    assert {key for key in base if grid[key] != base[key]} == {"settings", "systems", "labels"}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        [{"extends": "shut"}, "mine.json: extends: no grid 'shut': give one of"],
        [{"extends": "missing.json"}, "mine.json: extends: .*missing.json: .*No such file"],
        [{"extends": "mine.json"}, "mine.json: extends: .*mine.json extends it in turn"],
        [{"extends": None}, "mine.json: extends: None: give one of"],
        [{"extends": "base.json"}, "base.json: unknown key 'seed'"],
        [{"extends": "list.json"}, r"list.json is \[3\], expected a mapping"],
        [{"extends": "open", "setting::features": [1]}, "mine.json: 'setting::features' does not fit into .*open.json"],
        [{"extends": "open", "+labels": 3}, r"mine.json: '\+labels' does not fit into"],
        [
            {"extends": "open", "+lables": [3]},
            r"mine.json: '\+lables' does not fit into .*there is no 'lables' to add to",
        ],
        [{"extends": "open", "seed": 1}, "mine.json: unknown key 'seed'"],
    ],
)
def test_a_grid_that_cannot_extend_another_is_named(grid, message, tmp_path):
    for name, content in {"mine": grid, "base": {"seed": 1}, "list": [3]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^experiment: .*{message}") as caught:
        read_grid(str(tmp_path / "mine.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        [{"seed": [1]}, "unknown key 'seed'"],
        [{"seeds": [0, 0]}, "seeds: .* different values"],
        [{"seeds": [True]}, "seeds: True"],
        [{"labels": [0]}, "labels: 0 is not a number of cases"],
        [{"labels": [1.0]}, "labels: 1.0"],
        [{"label_noise": ["3"]}, "label_noise: '3' is not a radius"],
        [{"label_noise": [0.5]}, "label_noise: 0.5 is not a radius"],
        [{"label_noise": [0, 3], "tasks": {"adc": ADC}}, "label_noise: adc is a classification"],
        [{"systems": ["scratch"]}, r"systems: \['scratch'\] is not a mapping"],
        [{"settings": [1]}, r"settings: \[1\] is not a mapping"],
        [{"paper": "table_9"}, "paper: no table 'table_9'"],
        [{"tasks": {"heart": {**HEART, "exclude": "case_3"}}}, "tasks: heart: exclude: 'case_3' is not a list"],
        [{"baseline": "none"}, "baseline: 'none' is none of the systems"],
        [{"pretraining": None}, "has a pre-training, but the grid has no 'pretraining'"],
        [{"steps_per_epoch": 0}, "steps_per_epoch: 0"],
        [{"systems": {"scratch": {"tasks": {"liver": {}}}}}, "'liver' is none of the tasks"],
        [{"tasks": {"heart": {"bundle": "x", "modality": "pet", "datalist": "y"}}}, "modality: 'pet'"],
        [{"tasks": {"heart": {"bundle": "x", "modality": "ct"}}}, "give either 'datalist'"],
        [{"tasks": {"heart": {"bundle": "x", "modality": "ct", "images": "y"}}}, "no 'labels'"],
        [
            {"tasks": {"heart": {"bundle": "x", "modality": "ct", "datalist": "y", "group": "z"}}},
            "group: not for a task with 'datalist'",
        ],
        [{"tasks": {"heart": {**HEART, "dataset_dir": "y"}}}, "dataset_dir: not for a task with 'images'"],
        [{"tasks": {"heart": {**HEART, "split": {"test": -1, "validation": 1}}}}, "split: test: -1 is not a number"],
        [{"systems": {"scratch": {"pretraining": {"mial": False}}}}, "scratch: pretraining: unknown key 'mial'"],
        [{"systems": {"scratch": {"pretraining": True}}}, "scratch: pretraining is True, expected a mapping"],
        [{"systems": {"scratch": {"pretraining": {"scans": "ct"}}}}, "pretraining: scans: 'ct': give 'own'"],
        [{"systems": {"scratch": {"pretraining": {"tasks": {}}}}}, "pretraining: tasks: without 'scans': 'own'"],
        [
            {"systems": {"scratch": {"pretraining": {"scans": "own", "tasks": {"liver": {}}}}}},
            "pretraining: tasks: 'liver' is none of the tasks",
        ],
        [
            {"systems": {"scratch": {}, "more": {"pretraining": {"continues": "scratch"}}}},
            r"more: pretraining: continues: 'scratch' has no pre-training.* give one of \[\]",
        ],
        [
            {"systems": {name: {"pretraining": {"continues": "one"}} for name in ("scratch", "one")}},
            r"scratch: pretraining: continues: 'one' has no pre-training, or one that continues itself: .*\['one'\]",
        ],
        [{"pretraining": {"bundle": "x", "configs": []}}, "give either 'scans'"],
    ],
)
def test_mistakes_in_a_grid_are_named(tmp_path, changes, message):
    (tmp_path / "grid.json").write_text(json.dumps(miniature(**changes)))
    with pytest.raises(ValueError, match=message):
        read_grid(str(tmp_path / "grid.json"))


def test_an_unknown_grid_is_named():
    with pytest.raises(ValueError, match=r"no grid 'table_9'.*table_3"):
        read_grid("table_9")
