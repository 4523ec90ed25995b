# SPDX-License-Identifier: Apache-2.0
"""Records become cells, comparisons, ranks, curves and probes; their report's pieces become HTML and Markdown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from universal_model_components.experiments import sections, trends
from universal_model_components.experiments.blocks import Chart, Picture, Section, Table, Verdict, Words
from universal_model_components.experiments.comparisons import (
    Comparison,
    compare,
    compare_all,
    compare_over_tasks,
    rank,
    settings,
)
from universal_model_components.experiments.convergence import Band, curves_of, first_step, mean_curve, validation_curve
from universal_model_components.experiments.probes import Effect, module_effects
from universal_model_components.experiments.results import (
    Cell,
    Results,
    labels_in_words,
    paper_table,
    read_results,
)


def record(values: list[float | None], seed: int = 0, split: str = "test", curve: list[float] | None = None) -> dict:
    cases = {f"case_{index}": {"iou": value} for index, value in enumerate(values)}
    rows = [{"step": 10 * (index + 1), "val_iou": value} for index, value in enumerate(curve or [])]
    return {"metric": "iou", "seed": seed, "cases": {split: cases}, "curve": [*rows, {"step": 99, "val_iou": None}]}


def make_cell(task: str = "atrium", **systems: list[list[float | None]]) -> Cell:
    records = {name: {s: record(values, s) for s, values in enumerate(runs)} for name, runs in systems.items()}
    return Cell(task, "all", 0.0, 8, records, {name: list(range(len(runs))) for name, runs in systems.items()})


def make_results(cells: list[Cell], pretrainings: dict | None = None) -> Results:
    names = list(dict.fromkeys(name for cell in cells for name in cell.records))
    grid = {
        "name": "x",
        "tasks": {cell.task: {} for cell in cells},
        "systems": {name: {} for name in names},
        "runs": [],
    }
    grid["pretrainings"] = [{"run": run, "system": found["system"]} for run, found in (pretrainings or {}).items()]
    return Results(grid, {}, pretrainings or {}, cells, {})


def test_the_papers_tables():
    table = paper_table("table_4")
    assert table["rows"]["model_multi_mial"]["lnc"] == {"mean": 99.31, "std": 0.27}
    assert set(table["systems"]) == set(table["rows"])
    assert paper_table("table_3")["rows"]["med3d"]["las_mri"] == {"mean": 63.43, "std": 0.61}
    assert paper_table("table_5")["rows"]["universal"]["bts"] == {"mean": 70.86, "std": 0.76}
    with pytest.raises(ValueError, match="no table 'table_9', expected one of table_3, table_4, table_5"):
        paper_table("table_9")


def test_labels_in_words():
    grid = {"labels": [3, 0.1, 0.3, "all"]}
    assert labels_in_words({"labels": 3, "label_fraction": 0.06}, grid) == "3 cases"
    assert labels_in_words({"labels": 16, "label_fraction": 1.0}, grid) == "all"
    assert labels_in_words({"labels": 2, "label_fraction": 0.125}, grid) == "10 %"
    assert labels_in_words({"labels": 5, "label_fraction": None}, grid) == "5 cases"
    for asked, words in ((3, "4 cases"), (0.1, "10 %")):  # of two classes, 3 cases are 4
        assert labels_in_words({"labels": 4, "label_fraction": 0.03, "asked": asked}, grid) == words


def test_cells_hold_what_all_systems_have():
    cell = make_cell(scratch=[[0.1, 0.2, None], [0.3, 0.4, 0.5]], universal=[[0.5, 0.6]])
    values, cases = cell.values(["scratch", "universal"])
    assert values.shape == (2, 1, 2)
    assert cases.labels is None
    assert cases.people.tolist() == [0, 1]
    np.testing.assert_allclose(cell.scores("scratch"), [0.15, 0.4])
    assert cell.scores("unknown").size == 0
    assert (cell.split, cell.metric, cell.setting) == ("test", "iou", "all")
    cell.records["scratch"][1] = record([0.1], 1, split="validation")
    assert cell.split == "validation"


def test_an_output_folder_is_read(tmp_path: Path):
    run = {"run": "a", "task": "atrium", "system": "scratch", "seed": 0, "labels": 8, "label_fraction": 1.0}
    grid = {"name": "x", "tasks": {"atrium": {}}, "systems": {"scratch": {}}, "runs": [run], "labels": ["all"]}
    (tmp_path / "experiment.json").write_text(json.dumps(grid))
    assert read_results(tmp_path).cells[0].finished == []
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "record.json").write_text(json.dumps({**run, **record([0.5])}))
    assert read_results(tmp_path).cells[0].scores("scratch") == [0.5]
    (tmp_path / "experiment.json").write_text("[]")
    with pytest.raises(ValueError, match=r"experiment\.json: holds a list, expected the resolved grid"):
        read_results(tmp_path)


def test_comparisons_and_ranks():
    random = np.random.default_rng(0)
    scratch = (0.5 + 0.02 * random.normal(size=(5, 6))).tolist()
    better = (np.array(scratch) + 0.1 + 0.01 * random.normal(size=(5, 6))).tolist()
    cells = [make_cell(task, scratch=scratch, better=better, same=scratch) for task in ("one", "two")]
    results = make_results(cells)
    found = compare_all(results, repeats=200)
    assert [(c.system, c.verdict) for c in found[:2]] == [("better", "helps"), ("same", "does not help here")]
    one = compare(cells[0], "better", "scratch", repeats=200)
    assert isinstance(one, Comparison)
    assert one.difference.estimate == pytest.approx(np.mean(better) - np.mean(scratch))
    assert compare(cells[0], "unknown", "scratch") is None
    assert replace(one, low=-2.0, high=-1.0).verdict == "hurts"
    assert replace(one, low=np.nan).verdict == "too few runs"
    assert replace(one, low=1.0, high=2.0, seeds=1).verdict == "too few runs"
    pooled = compare_over_tasks(results, found)
    assert [(c.system, c.seeds, c.cases, c.tasks) for c in pooled] == [
        ("better", 10, 12, (2, 2)),
        ("same", 10, 12, (2, 2)),
    ]
    assert pooled[0].verdict == "helps"
    assert settings(cells) == [("all", 0.0)]
    systems, ranks, count = rank(results, cells, repeats=100)
    assert ranks is not None
    assert (systems, count, ranks.mean.tolist()) == (["scratch", "better", "same"], 2, [2.5, 1.0, 2.5])


def test_one_seed_of_each_task_is_no_sample_of_trainings():
    scratch = [[0.5, 0.51, 0.52, 0.5]]
    cells = [make_cell(task, scratch=scratch, better=(np.array(scratch) + 0.1).tolist()) for task in ("one", "two")]
    results = make_results(cells)
    results.grid["tasks"]["three"] = {}  # has too few cases for this number of labels
    found = compare_all(results, repeats=50)
    [pooled] = compare_over_tasks(results, found)
    assert (pooled.seeds, pooled.fewest, pooled.tasks, pooled.verdict) == (2, 1, (2, 3), "too few runs")
    text = sections.overview(results, [pooled], found).to_markdown()
    assert "0 of 2 comparisons help, 0 hurt, 0 show no help, too few runs for 2." in text
    assert "0 of 1 comparisons help, 0 hurt, 0 show no help, too few runs for 1." in text
    assert "| 2 of 3 |" in sections.differences(results, [pooled], found).to_markdown()


def test_cases_that_could_not_be_read_and_cases_of_one_person():
    """What is not scored is no negative; AUC's cases of one person are drawn together."""
    case = {f"c{n}": {"probability": 0.1 * n, "label": int(n > 5), "group": f"p{n // 2}"} for n in range(12)}
    case["lost"] = {"probability": None, "label": None}
    cell = Cell("nodules", "all", 0.0, 8, {"scratch": {0: {"metric": "auc", "cases": {"test": case}}}})
    values, cases = cell.values(["scratch"])
    assert values.shape == (1, 1, 12)
    assert (len(cases.people), cases.persons) == (12, 6)
    assert cell.scores("scratch").tolist() == [1.0]
    earlier = {name: {key: value for key, value in one.items() if key != "group"} for name, one in case.items()}
    earlier["c1#7"], case["c1#7"] = {"probability": 0.4, "label": 0}, {"probability": 0.4, "label": 1}  # another sample
    cell.records["earlier"] = {0: {"metric": "auc", "cases": {"test": earlier}}}
    for systems in (["scratch", "earlier"], ["earlier", "scratch"]):
        values, cases = cell.values(systems)
        assert (values.shape, cases.persons) == ((2, 1, 12), 6)
    cases = Cell("n", "all", 0.0, 8, {"earlier": cell.records["earlier"]}).values(["earlier"])[1]
    assert (len(cases.people), cases.persons) == (13, 12)  # the two samples of one scan


def test_people_without_a_defined_case_do_not_count():
    runs = [[0.1, None, 0.3, None], [0.2, None, None, None]]
    better = [[0.2, 0.5, 0.4, None], [0.3, None, 0.4, None]]
    cell = make_cell(scratch=runs, better=better, empty=[[None], [None]])
    found = compare(cell, "better", "scratch", repeats=50)
    assert found is not None
    assert (found.cases, found.people) == (2, 2)
    np.testing.assert_allclose(found.difference.by_seed, [0.1, 0.1])
    assert np.isnan(cell.scores("empty")).all()
    assert "not defined" in sections.scores(make_results([cell])).to_markdown()
    alone = make_cell(scratch=[[0.1], [0.2]], better=[[0.5], [0.6]])
    [one] = compare_all(make_results([alone]), repeats=50)
    assert (one.people, one.verdict) == (1, "too few runs")


def test_a_table_names_the_cases_of_each_of_its_rows():
    runs = [[0.1, 0.2], [0.3, 0.4]]
    tested = make_cell(scratch=runs, better=runs)
    validated = replace(make_cell(scratch=runs, better=runs), labels="3 cases")
    for system in validated.records.values():
        for found in system.values():
            found["cases"] = {"validation": found["cases"]["test"]}
    text = sections.differences(
        make_results([tested, validated]), [], compare_all(make_results([tested, validated]), 10)
    )
    text = text.to_markdown()
    assert "atrium, test and validation cases" in text
    for labels, split in (("all", "test"), ("3 cases", "validation")):
        assert (
            f"| better | {labels} | does not help here | +0.00 | +0.00 to +0.00 | 1 (1) | 1 (1) | 2 | 2 | 2 | {split} |"
            in text
        )


@pytest.mark.parametrize(
    ("cells", "section", "there"),
    [
        [[("5 cases", 0, 5), ("5 cases", 1, 5), ("5 cases", 3, 5)], "noise", True],
        [[("5 cases", 0, 5), ("all", 1, 8)], "noise", False],
        [[("5 cases", 1, 5), ("all", 1, 8), ("all", 3, 8)], "labels", True],
        [[("5 cases", 1, 5), ("all", 0, 8)], "labels", False],
    ],
)
def test_curves_over_labels_and_noise_take_what_differs_in_nothing_else(cells, section, there):
    made = [replace(make_cell(scratch=[[0.1], [0.2]]), labels=words, noise=noise, count=n) for words, noise, n in cells]
    for run in (run for cell in made for run in cell.finished):
        run["run"] = "x"
    text = getattr(trends, section)(make_results(made)).to_markdown()
    assert ("No curve" in text) != there


def test_the_caption_of_gains_says_what_they_are():
    runs = [[0.1, 0.2], [0.3, 0.4]]
    results = make_results(
        [make_cell("one", scratch=runs, better=runs), make_cell("two", scratch=runs, better=runs[:1])]
    )
    comparisons = compare_all(results, repeats=10)
    text = sections.differences(results, compare_over_tasks(results, comparisons), comparisons).to_markdown()
    assert "Gain in IoU over “scratch” on test cases. Dots are means of 1 to 2 pairs of runs" in text
    assert "Dots are means of 3 pairs of runs" in text


def test_curves_are_averaged_where_all_seeds_have_them():
    runs = {0: record([], curve=[0.1, 0.3, 0.5]), 1: record([], curve=[0.3, 0.5])}
    np.testing.assert_allclose(validation_curve(runs[0])[0], [10, 20, 30])
    band = mean_curve(runs)
    assert isinstance(band, Band)
    np.testing.assert_allclose(band.steps, [10, 20])
    np.testing.assert_allclose(band.mean, [0.2, 0.4])
    assert first_step(band, 0.3) == 20
    assert first_step(band, 0.9) is None
    assert first_step(band, 0.3, higher_is_better=False) == 10
    assert mean_curve({0: record([])}) is None
    assert list(curves_of(Cell("t", "all", 0, 1, {"scratch": runs}), ["scratch", "other"])) == ["scratch"]


def test_effects_compare_pretrainings_that_differ_in_one_module():
    def pretraining(run: str, mial: bool, scale: bool, **probes: float) -> dict:
        return {"run": run, "system": run, "settings": {"mial": mial, "scale_classifier": scale}, "probes": probes}

    found = [pretraining("plain", False, False, scale_probe=0.5, modality_probe=0.9)]
    found += [pretraining("mial", True, False, modality_probe=0.95), pretraining("sc", False, True, scale_probe=0.7)]
    found += [pretraining("both", True, True)]
    effects = module_effects(make_results([make_cell(scratch=[[0.1]])], {entry["run"]: entry for entry in found}))
    measured = {(e.module, e.without, e.with_it): e.as_claimed for e in effects if e.probe}
    assert measured == {("mial", "plain", "mial"): False, ("scale_classifier", "plain", "sc"): True}
    unmeasured = [(e.module, e.without, e.with_it) for e in effects if not e.probe]
    assert unmeasured == [("mial", "sc", "both"), ("scale_classifier", "mial", "both")]
    assert Effect("mial", "a", "b", "probe", before=0.9, after=0.6).as_claimed


def test_pretrainings_of_tasks_and_of_other_plans_are_not_mixed():
    """Each task's pre-training has a column, and effects are within a task and a kind of pre-training."""

    def pretraining(system: str, task: str | None, scale: bool, probe: float) -> dict:
        found = {"run": f"{system}-{task}", "system": system, "settings": {"mial": False, "scale_classifier": scale}}
        return {
            **found,
            **({"task": task} if task else {}),
            "probes": {"scale": probe},
            "seconds": 60 * (task == "one"),
        }

    kinds = [("plain", False), ("sc", True)]
    found = [pretraining(*kind[:1], task, kind[1], 0.5 + kind[1] / 4) for kind in kinds for task in ("one", "two")]
    found += [pretraining("shared", None, False, 0.9), pretraining("rotation", "one", False, 0.1)]
    cells = [make_cell(task, scratch=[[0.1]], sc=[[0.2]]) for task in ("one", "two")]
    results = make_results(cells, {entry["run"]: entry for entry in found})
    own = {"scans": "own"}
    results.grid["tasks"] = {"one": {"title": "Task 1"}, "two": {}}
    results.grid["systems"] = {"scratch": {}, "shared": {"pretraining": {}}}
    results.grid["systems"] |= {name: {"pretraining": own} for name, _ in kinds}
    results.grid["systems"] |= {"rotation": {"pretraining": {**own, "configs": ["train_rotation.json"]}}}
    effects = [(effect.without, effect.with_it) for effect in module_effects(results)]
    assert effects == [(f"plain-{task}", f"sc-{task}") for task in ("one", "two")]
    results.grid["pretrainings"] = [{key: p[key] for key in ("run", "system", "task") if key in p} for p in found]
    text = trends.probes(results).to_markdown()
    assert "| probe | plain, Task 1 | plain, two | sc, Task 1 | sc, two | shared | rotation, Task 1 |" in text
    assert "| scale | 0.5000 | 0.5000 | 0.7500 | 0.7500 | 0.9000 | 0.1000 |" in text
    assert "not run" not in text
    del results.pretrainings["shared-None"]
    results.pretrainings["rotation-one"]["probes"] = {}
    text = trends.probes(results).to_markdown()
    assert "| scale | 0.5000 | 0.5000 | 0.7500 | 0.7500 | – |" in text
    assert "Pre-trainings that were not run: shared." in text
    results.grid["runs"] = [{"system": "sc", "pretraining": f"sc-{task}"} for task in ("one", "two")]
    results.grid["systems"]["sc"]["pretraining"] = {**own, "continues": "shared"}
    text = trends.cost(results).to_markdown()
    assert "| sc | 0 | not run | – | 2 | 30.0 | – |" in text
    assert "continues another one is counted without" in text


def test_pieces_as_html_and_markdown(tmp_path: Path):
    blocks = [Words("a < b"), Verdict("yes", True), Table("Caption", ["x", "y"], [["a|b", "1"]])]
    blocks += [Chart("chart", "<svg width='1'/>", "What it shows"), Picture("noisy", tmp_path / "a.png", "Masks")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    section = Section("name", "Title", blocks)
    name, title, content = section.to_html()
    assert (name, title) == ("name", "Title")
    for words in ("a &lt; b", "verdict good", '<td class="number">1</td>', "<svg width='1'/>", "base64,iVBORw=="):
        assert words in content
    text = section.to_markdown()
    for words in ("## Title", r"a \< b", "**yes**", r"| a\|b | 1 |", "| --- | ---: |", "![What it shows](chart.svg)"):
        assert words in text
    assert "![Masks](noisy.png)" in text
    assert section.blocks[3].to_file().startswith('<svg style="background')


def test_sections_say_what_was_not_run():
    results = make_results([make_cell(scratch=[], universal=[])])
    overview = sections.overview(results, [], [])
    assert "there are no scores" in overview.to_markdown()
    for section in (
        sections.scores(results),
        sections.differences(results, [], []),
        sections.ranks(results, repeats=10),
        trends.convergence(results),
        trends.cost(results),
    ):
        assert "not run" in section.to_markdown()
    assert "No curve" in trends.labels(results).to_markdown() + trends.noise(results).to_markdown()
    assert "No system" in trends.probes(results).to_markdown()
    assert sections.percent(0.5) == "50.00"
    assert sections.percent(float("nan")) == "–"
    assert sections.in_words("3 cases") == "3 cases to train on"
    assert sections.title_of(results, "systems", "scratch") == "scratch"
