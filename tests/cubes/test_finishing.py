# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from universal_model_components.cubes.finishing import finish
from universal_model_components.cubes.index import read_index
from universal_model_components.cubes.recipe import Recipe
from universal_model_components.cubes.store import open_store
from universal_model_components.datalists.sources import Source


def test_the_index_lists_what_has_cubes_and_is_no_copy(tmp_path):
    splits = {"training": ["a", "b", "c"], "validation": ["d"]}
    entries = {
        split: [{"case": name, "image": f"{name}.nii", "modality": "ct", "group": name} for name in names]
        for split, names in splits.items()
    }
    source = Source({"name": "own", "version": 1, **entries}, "scans", drawn=False)
    status = {"a": "made", "b": "skipped", "c": "kept", "d": "made"}
    marks = {"a": {"voxels": "1", "places": "x"}, "b": None, "c": {"voxels": "2"}, "d": {"voxels": "2"}}
    results = [
        {"case": name, "status": status[name], "fingerprint": marks[name], "counts": [1, 0, 2 * (name == "a")]}
        for name in "abcd"
    ]
    open_store(tmp_path, Recipe().to_dict())
    problems = ["b.nii: truncated"]
    index = finish(str(tmp_path), [source], results, problems, 0.2, 0)
    assert index == {key: value for key, value in read_index(tmp_path).items() if key != "recipe"}
    assert [(case["case"], case["counts"]) for case in index["splits"]["training"]] == [("a", [1, 0, 2])]
    assert [case["case"] for case in index["splits"]["validation"]] == ["d"]
    assert (
        index["problems"]
        == problems
        == [
            "b.nii: truncated",
            "scans/c.nii: training case with the voxels of scans/d.nii in validation: left out, remove one, "
            "or give both the same patient",
        ]
    )
    assert not (tmp_path / "datalist.json").exists()
    finish(str(tmp_path), [Source(source.listed, "scans", drawn=True)], results, [], 0.5, 0)
    drawn = json.loads((tmp_path / "datalist.json").read_text())
    assert drawn["root"] == "scans"
    assert len(drawn["training"]) + len(drawn["validation"]) >= 2
