# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import h5py
import pytest
from scan_files import SMALL, write_list

from universal_model_components.cubes.preparation import prepare_cubes
from universal_model_components.cubes.store import case_records
from universal_model_components.datalists.sources import Source, read_sources
from universal_model_components.imaging.hdf5 import case_file

BOTH = ("ct", "mri")


def read(datalist, dataset_dir=None, default_dir=None, modalities=BOTH):
    return read_sources(datalist, dataset_dir, default_dir, modalities, None, 0, 0.34)


@pytest.fixture
def lists(tmp_path):
    return [write_list(tmp_path, "lits2017", "ct"), write_list(tmp_path, "msd_heart", "mri")]


def test_several_sets_become_one_store_and_their_test_cases_stay_out(tmp_path, lists, capsys):
    index = prepare_cubes(None, str(tmp_path / "cubes"), recipe=SMALL, datalist=lists, num_workers=0)
    cases = [case for split in index["splits"].values() for case in split]
    assert sorted((case["set"], case["case"]) for case in cases) == [
        (name, f"{name}/volume-{n}") for name in ("lits2017", "msd_heart") for n in range(3)
    ]
    assert {case["set"] for case in index["splits"]["validation"]} == {"lits2017", "msd_heart"}
    assert index["sets"]["lits2017"]["cases"]["test"] == 1
    assert index["sets"]["lits2017"]["root"] == str(tmp_path / "lits2017_scans")
    assert "set 'lits2017': 3 cases in" in (printed := capsys.readouterr().out)
    assert "1 test cases are not prepared" in printed
    with h5py.File(case_file(tmp_path / "cubes", "msd_heart/volume-0")) as stored:
        assert stored.attrs["set"] == "msd_heart"
        assert stored.attrs["case"] == "msd_heart/volume-0"
    assert len(list((tmp_path / "cubes" / "cases").glob("*.h5"))) == 6
    assert case_records(tmp_path / "cubes", "training", BOTH)[0]["set"] == "lits2017"
    # The split that was drawn can be given back, with the same ids, so that nothing is made again.
    drawn = [str(tmp_path / "cubes" / f"datalist_{name}.json") for name in ("lits2017", "msd_heart")]
    again = prepare_cubes(None, str(tmp_path / "cubes"), recipe=SMALL, datalist=drawn, num_workers=0)
    assert again["splits"] == index["splits"]
    assert "(0 made, 6 kept from before)" in capsys.readouterr().out


def test_one_set_gives_the_same_cases_alone_and_beside_another(lists):
    alone, beside = read(lists[0], modalities=["ct"])[0][0], read(lists)[0][0]
    assert alone == beside


def test_the_root_is_the_lists_own_unless_a_folder_was_chosen(tmp_path, lists):
    own = str(tmp_path / "lits2017_scans")
    assert [source.root for source in read(lists[0])[0]] == [own]
    assert [source.root for source in read(lists[0], "/default", "/default")[0]] == [own]
    assert [source.root for source in read(lists[0], "/chosen", "/default")[0]] == ["/chosen"]
    bare = write_list(tmp_path, "bare", "ct", root=None)
    assert read(bare, "/default", "/default")[0][0].root == "/default"
    with pytest.raises(ValueError, match=r"datalist: .*bare\.json has no 'root': add the folder"):
        read(bare)
    with pytest.raises(ValueError, match="dataset_dir: neither a folder nor a datalist was given"):
        read(None)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ([{"image": "volume-0.nii"}], r"volume-0\.nii \(case 'a/volume-0'\) is in 'test' of 'a'"),
        ([{"image": "x.nii", "case": "volume-1"}], "case 'a/volume-1' is in 'test' of 'a'"),
        ([{"image": "x.nii", "group": "patient-2"}], "group 'a/patient-2' is in 'test' of 'a'"),
    ],
)
def test_a_test_case_that_would_be_trained_on_stops_the_run(tmp_path, test, message):
    file = write_list(tmp_path, "a", "ct", test=test)
    with pytest.raises(ValueError, match=message + " and in training or validation: .* remove it"):
        read(file)


def test_a_test_scan_of_one_set_in_anothers_training_stops_the_run(tmp_path, lists):
    scans = str(tmp_path / "lits2017_scans")
    entry = {"image": "../lits2017_scans/volume-3.nii", "modality": "ct"}
    other = write_list(tmp_path, "liver", "ct", root=scans, training=[entry], test=[])
    with pytest.raises(ValueError, match=r"volume-3\.nii \(case 'liver/ct/.*'\) is in 'test' of 'lits2017'"):
        read([lists[0], other])


def test_a_copy_of_a_test_scan_in_anothers_training_stops_the_run(tmp_path):
    held = {"image": "volume-3.nii", "modality": "ct", "sha256": "a1"}
    copied = {"image": "copy.nii", "modality": "ct", "sha256": "a1"}
    first = write_list(tmp_path, "lits2017", "ct", test=[held])
    second = write_list(tmp_path, "liver", "ct", training=[copied], test=[])
    with pytest.raises(ValueError, match=r"volume-3\.nii \(case 'liver/ct/copy\.nii'\) is in 'test' of 'lits2017'"):
        read([first, second])


@pytest.mark.parametrize(("places", "stopped"), [("p1", True), ("p2", False), (None, False)])
def test_a_test_scan_in_another_format_in_anothers_training_stops_the_run(tmp_path, places, stopped):
    mark = {"voxels": "v1", "places": "p1"}
    held = {"image": "volume-3.nii", "modality": "ct", "sha256": "a1", "fingerprint": mark}
    twin = {"image": "twin.nrrd", "modality": "ct", "sha256": "b2", "fingerprint": {"voxels": "v1"}}
    if places:
        twin["fingerprint"]["places"] = places
    lists = [
        write_list(tmp_path, "lits2017", "ct", test=[held]),
        write_list(tmp_path, "liver", "ct", training=[twin], test=[]),
    ]
    if stopped:
        with pytest.raises(
            ValueError, match=r"volume-3\.nii \(case 'liver/ct/twin\.nrrd'\) is in 'test' of 'lits2017'"
        ):
            read(lists)
    else:
        assert len(read(lists)[0]) == 2


def test_two_sets_of_one_name_are_named(tmp_path):
    (tmp_path / "b").mkdir()
    files = [write_list(tmp_path, "a", "ct"), write_list(tmp_path / "b", "a", "mri")]
    with pytest.raises(ValueError, match="two sets have the name 'a': give each datalist a 'name' of its own"):
        read(files)


def test_one_id_in_two_sets_is_named(tmp_path):
    entry = {"image": "volume-0.nii", "modality": "ct", "case": "b/x"}
    files = [write_list(tmp_path, "folder", "ct", training=[entry]), write_list(tmp_path, "b", "ct", training=[entry])]
    with pytest.raises(ValueError, match="case 'b/x' is in 'folder' and 'b': rename one"):
        read(files)


def test_a_source_yields_its_cases_and_draws_again_what_it_drew():
    entries = [{"image": f"{n}.nii", "case": f"{n}", "group": f"{n}", "modality": "ct"} for n in range(5)]
    listed = {"name": "own", "seed": 3, "training": entries[:4], "validation": entries[4:], "test": [entries[0]]}
    source = Source(listed, "/scans", drawn=True)
    first = next(source.cases())
    assert first == {
        "case": "0",
        "modality": "ct",
        "group": "0",
        "set": "own",
        "split": "training",
        "file": "/scans/0.nii",
    }
    assert source.held_out() == [entries[0]]
    assert source.summary() == {
        "name": "own",
        "seed": 3,
        "root": "/scans",
        "cases": {"training": 4, "validation": 1, "test": 1},
    }
    kept = source.keep({"0", "1", "2"}, 0.4, 0)
    assert sorted(case["case"] for case in kept.cases()) == ["0", "1", "2"]
    assert len(kept.listed["validation"]) == 1  # the one that validated is gone: another does
    given = Source(listed, "/scans", drawn=False).keep({"0", "1", "2"}, 0.4, 0)
    assert given.listed["validation"] == []
