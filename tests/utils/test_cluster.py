# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
from scan_files import SMALL, Barrier, body, make_dataset, write_datalist, write_scan
from stores import content

from universal_model_components.cubes.cases import case_version
from universal_model_components.cubes.preparation import prepare_cubes
from universal_model_components.utils import cluster

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


@pytest.fixture(scope="module")
def local_cluster():
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as running:
        yield running


def process_numbers(address):
    with cluster.connect(address) as client:
        # Imports, so that what follows sees work and nothing else. The scheduler may still list a worker just killed.
        client.run(cluster._look, ".", case_version, on_error="ignore")
        return client.run(os.getpid, on_error="ignore")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_worker_killed_mid_run_costs_nothing(local_cluster, tmp_path, monkeypatch, capsys):
    address = local_cluster.scheduler_address
    scans = make_dataset(tmp_path / "scans", 5, 5)
    listed = write_datalist(tmp_path, scans)
    (scans / "ct/scan_0.nii.gz").write_text("no image")
    barrier = Barrier(scans / "mri/scan_4.nii.gz")  # the run cannot end before this is lifted
    pids, seen = process_numbers(address), {}
    cases, ended = tmp_path / "cubes" / "cases", threading.Event()

    def kill_one() -> None:
        barrier.wait(alive=lambda: not ended.is_set())
        while len(list(cases.glob("*.h5"))) < 3 and not ended.is_set():
            time.sleep(0.01)
        worker, process = next(iter(pids.items()))
        os.kill(process, signal.SIGKILL)
        seen.update(worker=worker, done={file.name: file.stat().st_mtime_ns for file in cases.glob("*.h5")})
        barrier.lift()

    killer = threading.Thread(target=kill_one)
    killer.start()
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere: relative paths must not reach them
    try:
        index = prepare_cubes("scans", "cubes", recipe=SMALL, datalist=str(listed), scheduler=address)
    finally:
        ended.set()
        killer.join()
    assert 3 <= len(seen["done"]) < 9, "the worker was not killed mid-run"
    assert pids[seen["worker"]] not in process_numbers(address).values()
    assert sum(len(cases) for cases in index["splits"].values()) == 9
    assert len(index["problems"]) == 1
    assert "ct/scan_0.nii.gz: unreadable or truncated" in index["problems"][0]
    files = sorted(cases.iterdir())
    assert len(files) == 9, "a half case was left"
    assert {file.name: file.stat().st_mtime_ns for file in files if file.name in seen["done"]} == seen["done"]
    assert "9 cases (" in capsys.readouterr().out
    prepare_cubes("scans", "here", recipe=SMALL, datalist=str(listed), num_workers=0)
    one, other = content(tmp_path / "cubes"), content(tmp_path / "here")
    assert one.keys() == other.keys()
    assert [name for name in one if name.endswith(".h5") and one[name] != other[name]] == []


@pytest.mark.slow
def test_a_worker_that_has_just_died_stops_no_run(local_cluster, tmp_path):
    address = local_cluster.scheduler_address
    os.kill(next(iter(process_numbers(address).values())), signal.SIGKILL)
    calls = [(word,) for word in ("a", "b", "c")]
    results = cluster.run_on_cluster(str.upper, calls, address, tmp_path, lambda *lost: lost, case_version)
    assert sorted(results) == ["A", "B", "C"]


def test_a_plan_counts_the_clusters_threads(local_cluster, tmp_path, capsys):
    scans = make_dataset(tmp_path / "scans", 2, 2)
    with cluster.connect(local_cluster.scheduler_address) as client:
        client.wait_for_workers(2)  # one may have been killed by another test, and be starting again
    prepare_cubes(
        str(scans), str(tmp_path / "cubes"), recipe=SMALL, scheduler=local_cluster.scheduler_address, plan=True
    )
    assert "with 2 processes" in capsys.readouterr().out


def test_a_scan_at_which_every_worker_dies_is_skipped_and_named(local_cluster, tmp_path):
    calls = [(name,) for name in ("a", "deadly", "b")]
    results = cluster.run_on_cluster(
        _die, calls, local_cluster.scheduler_address, tmp_path, lambda *lost: lost, case_version
    )
    assert sorted(results, key=str) == sorted(
        ["A", "B", (("deadly",), "its worker died, and so did those that tried again: out of memory?")], key=str
    )


def _die(name):
    if name == "deadly":
        os._exit(1)
    return name.upper()


def test_what_is_wrong_with_a_cluster_is_named(local_cluster, tmp_path, monkeypatch):
    address = local_cluster.scheduler_address
    missing = str(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"scheduler: worker .* sees no folder .*missing: put it on a shared"):
        list(cluster.run_on_cluster(str, [], address, missing, tuple, case_version))
    here, there = os.getpid(), r"\d+"
    with pytest.raises(
        ValueError, match=rf"scheduler: worker .* has version {there}, here is {here}: install the same"
    ):
        list(cluster.run_on_cluster(str, [], address, tmp_path, tuple, lambda: str(os.getpid())))
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.2)
    write_scan(tmp_path / "scans/ct/a.nii", body())
    for wrong in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(ValueError, match=f"^scheduler: nothing answers at '{wrong}' .*: start `dask sched"):
            prepare_cubes(str(tmp_path / "scans"), str(tmp_path / "cubes"), "ct", SMALL, scheduler=wrong)
    assert not (tmp_path / "cubes").exists()


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"scheduler: needs dask\.distributed .*: pip install '.*\[cluster\]'"):
        cluster.cluster_threads("tcp://127.0.0.1:9")
