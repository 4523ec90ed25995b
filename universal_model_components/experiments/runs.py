# SPDX-License-Identifier: Apache-2.0
"""One job from where it stands to its record: each step is a process of the stock `python -m monai.bundle run`.

What has been done is in state.json; a training that was killed resumes from its checkpoint. The record is written last,
whole or not at all, and a job that has one is never done again.
"""

from __future__ import annotations

import itertools
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.errors import USER_ERRORS, user_error
from ..utils.files import write_json
from ..utils.locks import locked
from .jobs import PRETRAINING, RUN, Job, Step
from .processes import Processes, Stopped
from .records import RECORD, STATE, commit_of, origin_of, pretraining_record, read_record, read_state, run_record

FINISHED, FAILED, ELSEWHERE, BLOCKED = "finished", "failed", "elsewhere", "blocked"
TEST = "test"
RECORDING = "record"  # what comes after the steps, in the state and as a log
LOCK_SECONDS = 1.0  # between two looks at a job that others need and another process works on


@dataclass(frozen=True)
class Options:
    """How jobs are done.

    Args:
        test: also evaluate on the test cases.
        threads: of each process, where OMP_NUM_THREADS is not set.
        bundles: folder of the bundles.
    """

    test: bool
    threads: int
    bundles: Path


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        name: of the job.
        status: "finished", "failed", "elsewhere" (another process works on it) or "blocked" (what it needs failed).
        message: one line.
    """

    name: str
    status: str
    message: str = ""


def is_finished(job: Job, test: bool) -> bool:
    """Return whether a job has its record, with test cases where they are asked for."""
    record = read_record(job.folder)
    return bool(record) and (job.kind != RUN or not test or TEST in record["cases"])


def perform(job: Job, options: Options, processes: Processes) -> Outcome:
    """Do what is left of a job.

    A run that another process works on is left to it; a store or a pre-training is waited for. A run is looked at
    twice, because `experiment status` holds its lock for an instant.

    Raises:
        Stopped: when `processes` are stopped.
    """
    for look in itertools.count(1):
        try:
            with locked(job.folder / "lock") as lock:
                if lock is not None:
                    return _perform_locked(job, options, processes, lock)
        except Stopped:
            raise
        except Exception as error:  # of whatever kind: the other jobs go on
            return _failed(job, error)
        if job.kind == RUN and look > 1:
            break
        if processes.stopped.wait(LOCK_SECONDS):
            raise Stopped
    return Outcome(job.name, ELSEWHERE)


def _failed(job: Job, error: Exception) -> Outcome:
    """Leave a log and a state that name an error outside of the steps, as far as they can be written."""
    with suppress(*USER_ERRORS):
        (job.folder / f"{RECORDING}.log").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        write_json(job.folder / STATE, {**read_state(job.folder), "failed": RECORDING})
    what = user_error(error) if isinstance(error, USER_ERRORS) else repr(error)
    return Outcome(job.name, FAILED, f"{what}: {job.folder}")


def _perform_locked(job: Job, options: Options, processes: Processes, lock: int) -> Outcome:
    if is_finished(job, options.test):
        return Outcome(job.name, FINISHED)
    steps = [step for step in job.steps if step.name != TEST or options.test]
    new = {"done": [], "commits": [], "seconds": 0.0, "peak_memory_mib": 0.0}
    state: dict[str, Any] = {**new, **read_state(job.folder), "failed": None}
    commit = commit_of(options.bundles)
    state["commits"] += [] if commit is None or commit in state["commits"] else [commit]
    for step in steps:
        outputs = Path(step.settings.get("output_dir", job.folder))  # an evaluation whose folder was removed is redone
        if step.name not in state["done"] or not outputs.is_dir():
            status = _call(job, step, state, options, processes, lock)
            if status:
                log = job.folder / f"{step.name}.log"
                return Outcome(job.name, FAILED, f"{step.name} failed with exit code {status} ({_end_of(log)}): {log}")
    write_json(job.folder / STATE, state)  # what failed before has not failed now
    _write_record(job, [step.name for step in steps], state, options)
    return Outcome(job.name, FINISHED)


def _call(job: Job, step: Step, state: dict[str, Any], options: Options, processes: Processes, lock: int) -> int:
    """Run a step, keep the state on disk up to date, and return the exit code."""

    def save(seconds: float) -> None:
        state["seconds"] += seconds
        write_json(job.folder / STATE, state)

    save(0.0)
    settings = job.folder / f"{step.name}.json"
    write_json(settings, step.settings)
    configs = [*step.configs, str(settings)]
    logging = Path(step.configs[0]).with_name("logging.conf")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs)]
    command += ["--logging_file", str(logging)]
    environment = {"OMP_NUM_THREADS": str(options.threads), **os.environ}
    ended = processes.run(command, job.folder / f"{step.name}.log", environment, lock, save)
    state["peak_memory_mib"] = max(state["peak_memory_mib"], round(ended.peak_memory_mib, 1))
    state["failed"] = step.name if ended.status else None
    state["done"] += [] if ended.status or step.name in state["done"] else [step.name]
    save(0.0)
    return ended.status


def _end_of(log: Path) -> str:
    """Return the last line of a log: a user error is one line."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.split("\r")[-1].strip() for line in reversed(lines) if line.strip()), "no output")


def _write_record(job: Job, done: list[str], state: Mapping[str, Any], options: Options) -> None:
    facts: dict[str, Any] = dict(job.facts)
    if job.kind == RUN:
        facts = run_record(job.folder, facts, tuple(name for name in done if name != "train"))
    elif job.kind == PRETRAINING:
        facts = pretraining_record(job.folder, facts)
    cost = {"seconds": round(state["seconds"], 1), "peak_memory_mib": state["peak_memory_mib"]}
    write_json(job.folder / RECORD, {**facts, **cost, **origin_of(facts["settings"], state["commits"])})
    (job.folder / "models" / "checkpoint.pt").unlink(missing_ok=True)  # nothing is left to resume
