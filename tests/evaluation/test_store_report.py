# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
from scan_files import SMALL, body, make_dataset, write_list, write_scan

from universal_model_components.cubes.case_file import read_attributes
from universal_model_components.cubes.preparation import prepare_cubes
from universal_model_components.cubes.recipe import Recipe
from universal_model_components.cubes.store import open_store
from universal_model_components.evaluation.store_report import write_store_report
from universal_model_components.imaging.hdf5 import case_file


def rows(page: str) -> list[list[str]]:
    """All rows of all tables as plain text."""
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    return [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in found]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three scans of 32×40×48 voxels, which LiTS2017 is said to be, two MRI, and one that cannot be used."""
    folder = tmp_path_factory.mktemp("sets")
    ct = write_list(folder, "lits2017", "ct")
    for number in range(3):
        scan = folder / "lits2017_scans" / f"volume-{number}.nii"
        write_scan(scan, body((32, 40, 48), seed=number), np.diag([2.0, 2.5, 3.0, 1]))
    (folder / "own_scans").mkdir()
    mri = write_list(folder, "own", "mri")
    (folder / "own_scans/volume-0.nii").write_text("<no image>")
    prepare_cubes(
        None, str(folder / "cubes"), recipe=SMALL, datalist=[ct, mri], num_workers=0, report=write_store_report
    )
    return folder / "cubes"


def test_table_one_stands_beside_the_papers(store):
    found = rows((store / "report.html").read_text())
    # twice as many cubes as in other sets: SMALL asks for 2 large, 2 medium and 4 small ones of a volume
    assert ["lits2017, here", "3", "ct", "48 × 40 × 32", "3.00 × 2.50 × 2.00", "24", "12", "12"] in found
    assert ["lits2017, paper", "111", "CT", "432 × 512 × 512", "1.00 × 0.77 × 0.77", "7,104", "3,552", "3,552"] in found
    own = next(row for row in found if row[0] == "own, here")
    assert own[1:3] == ["2", "mri"]
    assert all(20 <= int(side) <= 32 for side in own[3].split(" × "))  # cropped to the body
    assert not any(row[0] == "own, paper" for row in found)


def test_skipped_scans_and_the_recipe_are_on_the_page(store):
    page = (store / "report.html").read_text()
    assert re.search(r"<li><code>.*own_scans/volume-0\.nii: unreadable or truncated", page)
    found = rows(page)
    assert ["patch_size", "[16, 16, 8]"] in found
    assert ["version", "1"] in found
    assert ["own", "1", "0", str(store.parent / "own_scans")] in found
    assert page.count("<svg") == 2
    assert not re.search(r"""(src|\bhref)=["']http|url\(http|@import""", page)  # nothing is fetched


def test_histograms_travel_with_the_cases_and_the_page_is_the_same_for_kept_ones(store):
    stored = read_attributes(case_file(store, "lits2017/volume-0"))
    counts, (low, high) = stored["histogram"], stored["histogram_range"]
    assert (low, high) == (-1500, 1500)
    assert counts.sum() == 32 * 40 * 48
    voxels = body((32, 40, 48))
    center = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    assert abs((counts * center).sum() / counts.sum() - voxels.clip(-1500, 1500).mean()) < 2
    assert stored["histogram_normalized"].sum() == np.prod(stored["shape"])
    before = (store / "report.html").read_text()
    (store / "report.html").unlink()
    lists = [str(store.parent / f"{name}.json") for name in ("lits2017", "own")]
    prepare_cubes(None, str(store), recipe=SMALL, datalist=lists, num_workers=0, report=write_store_report)
    assert (store / "report.html").read_text() == before


@pytest.mark.parametrize("missing", ["histogram", "histogram_normalized"])
def test_a_store_without_histograms_still_has_a_page(missing, tmp_path):
    prepare_cubes(str(make_dataset(tmp_path / "scans", 2, 0)), str(tmp_path / "cubes"), "ct", SMALL, num_workers=0)
    for file in (tmp_path / "cubes" / "cases").iterdir():
        with h5py.File(file, "a") as case:
            for key in (missing, "cropped_shape"):
                del case.attrs[key]
    page = write_store_report(tmp_path / "cubes").read_text()
    assert "these cases hold no histograms" in page
    assert next(row for row in rows(page) if row[0] == "folder, here")[3] == "n/a"


def test_an_unfinished_store_has_no_page(tmp_path):
    open_store(tmp_path, Recipe().to_dict())
    with pytest.raises(ValueError, match=r"preparation of .* has not ended: run prepare\.json again"):
        write_store_report(tmp_path)
