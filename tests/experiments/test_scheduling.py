# SPDX-License-Identifier: Apache-2.0
"""Child processes, locks, and the cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from universal_model_components import __version__
from universal_model_components.experiments.jobs import Job
from universal_model_components.experiments.processes import Ended, Processes, Stopped
from universal_model_components.experiments.runs import (
    ELSEWHERE,
    FINISHED,
    Options,
    Outcome,
    perform,
)
from universal_model_components.experiments.scheduling import (
    cluster_version,
    perform_alone,
    run_locally,
    run_on_dask,
)
from universal_model_components.experiments.status import state_of
from universal_model_components.utils.locks import locked

OPTIONS = Options(test=False, threads=1, bundles=Path("bundles"))


def run_python(processes, folder, code):
    with locked(folder / "lock") as lock:
        return processes.run([sys.executable, "-c", code], folder / "log", os.environ, lock, lambda seconds: None)


def finished(folder, name, kind="run"):
    (folder / name).mkdir()
    (folder / name / "record.json").write_text(json.dumps({"run": name}))
    return Job(name, kind, folder / name, ())


def test_a_process_writes_a_log_and_is_measured(tmp_path):
    ended = run_python(Processes(), tmp_path, "print('hello'); raise SystemExit(3)")
    assert isinstance(ended, Ended)
    assert ended.status == 3
    assert (tmp_path / "log").read_text() == "hello\n"


def test_peak_memory_is_that_of_the_child(tmp_path):
    # from a small process: Linux counts the parent's memory at the moment of the fork too
    code = "bytearray(200 * 2**20)"
    parent = (
        "import os, sys; from pathlib import Path\n"
        "from universal_model_components.experiments.processes import Processes\n"
        "from universal_model_components.utils.locks import locked\n"
        f"with locked(Path({str(tmp_path / 'lock')!r})) as lock:\n"
        f"    command, log = [sys.executable, '-c', {code!r}], Path({str(tmp_path / 'log')!r})\n"
        "    print(Processes().run(command, log, os.environ, lock, lambda seconds: None).peak_memory_mib)\n"
    )
    result = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 190 < float(result.stdout) < 1500


def test_stopping_ends_what_runs_and_what_would_begin(tmp_path):
    processes = Processes()
    threading.Timer(0.5, processes.stop).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        run_python(processes, tmp_path, "import time; time.sleep(60)")
    assert time.monotonic() - start < 30
    with pytest.raises(Stopped):
        run_python(processes, tmp_path, "")


def test_a_child_keeps_the_lock_when_its_parent_is_killed(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    parent = (
        "import os, sys; from pathlib import Path\n"
        "from universal_model_components.experiments.processes import Processes\n"
        "from universal_model_components.utils.locks import locked\n"
        f"with locked(Path({str(tmp_path / 'lock')!r})) as lock:\n"
        f"    command, log = [sys.executable, '-c', {code!r}], Path({str(tmp_path / 'log')!r})\n"
        "    Processes().run(command, log, os.environ, lock, print)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    log = tmp_path / "log"
    while process.poll() is None and not (log.is_file() and log.read_text().endswith("\n")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    child = int(log.read_text())
    with locked(tmp_path / "lock") as lock:
        assert lock is None
    os.kill(child, signal.SIGKILL)
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
    with locked(tmp_path / "lock") as lock:
        assert lock is not None


def test_a_run_that_another_process_works_on_is_left_to_it(tmp_path):
    job = Job("one", "run", tmp_path / "one", ())
    with locked(job.folder / "lock") as lock:
        assert lock is not None
        assert perform(job, OPTIONS, Processes()) == Outcome("one", ELSEWHERE)
        assert state_of(job.folder) == "running"
    assert state_of(job.folder) == "left"


def test_a_finished_run_is_running_while_it_is_tested(tmp_path):
    job = finished(tmp_path, "one")
    with locked(job.folder / "lock"):
        assert state_of(job.folder) == "running"
    assert state_of(job.folder) == "finished"
    (job.folder / "state.json").write_text(json.dumps({"failed": "test"}))
    assert state_of(job.folder) == "failed"


def test_a_run_whose_lock_is_held_for_an_instant_is_not_left_out(tmp_path):
    job = finished(tmp_path, "one")
    with ExitStack() as stack:
        assert stack.enter_context(locked(job.folder / "lock")) is not None
        threading.Timer(0.2, stack.pop_all().close).start()
        assert perform(job, OPTIONS, Processes()).status == FINISHED


def test_a_pretraining_that_another_process_works_on_is_waited_for(tmp_path):
    job = finished(tmp_path, "one", "pretraining")
    processes = Processes()
    with locked(job.folder / "lock"):
        threading.Timer(0.2, processes.stop).start()
        with pytest.raises(Stopped):
            perform(job, OPTIONS, processes)
    assert perform(job, OPTIONS, Processes()).status == FINISHED


def test_jobs_wait_for_what_they_need(tmp_path):
    before = finished(tmp_path, "before", "pretraining")
    after = Job("after", "run", finished(tmp_path, "after").folder, (), ("before",))
    outcomes = list(run_locally([after, before], OPTIONS, 2, Processes()))
    assert [outcome.name for outcome in outcomes] == ["before", "after"]


def test_jobs_on_a_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    jobs = [finished(tmp_path, "run"), finished(tmp_path, "before", "pretraining")]
    jobs += [Job("more", "pretraining", finished(tmp_path, "more").folder, (), ("before",))]
    assert perform_alone(jobs[0], OPTIONS) == Outcome("run", FINISHED)
    assert cluster_version() == __version__
    with distributed.LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        outcomes = list(run_on_dask(jobs, OPTIONS, cluster.scheduler_address, str(tmp_path)))
    assert [outcome.name for outcome in outcomes] == ["before", "more", "run"]
