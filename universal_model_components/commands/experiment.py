# SPDX-License-Identifier: Apache-2.0
"""`python -m universal_model_components experiment …`: run a grid of experiments, show its status, report it."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..experiments.grid import read_grid
from ..experiments.jobs import RUN, Job, Places
from ..experiments.plan import describe, make_jobs
from ..experiments.processes import Processes
from ..experiments.records import EXPERIMENT
from ..experiments.runs import BLOCKED, ELSEWHERE, FAILED, FINISHED, Options, Outcome, is_finished
from ..experiments.scheduling import choose, read_filter, run_locally, run_on_dask, slurm_script, unfinished
from ..experiments.status import print_status
from ..utils.files import write_json
from ..utils.parallel import usable_cores
from ..utils.settings import to_bool, to_optional


def run(
    name: str,
    output: str,
    data: str = ".",
    bundles: str = "bundles",
    only: str | None = None,
    test: bool | str = False,
    jobs: int = 1,
    scheduler: str | None = None,
    plan: str | None = None,
) -> None:
    """Run what is left of an experiment; finished runs are kept, interrupted ones resume.

    Args:
        name: of a provided grid (open, released, table_3, table_4, table_5, figure_4, figure_5), or a grid's JSON file.
        output: folder of the experiment.
        data: folder that the grid's paths are relative to.
        bundles: folder of the bundles.
        only: runs to do, such as "task=hippocampus,seed=0|1"; keys run, kind (pretraining), task, system,
            seed, labels, label_noise.
        test: also evaluate on the test cases, finished runs too. Choose everything on the validation cases first.
        jobs: runs at a time on this machine.
        scheduler: address of a Dask scheduler to run on instead.
        plan: "slurm" prints a Slurm array script, and nothing runs.

    Raises:
        ValueError: when the grid, the data or an option is wrong.
        SystemExit: with code 1 when a run failed; the others are done.
    """
    grid, wanted, testing = read_grid(str(name)), read_filter(to_optional(only)), to_bool(test, "test")
    if plan not in (None, "slurm"):
        raise ValueError(f"plan: {plan!r} is not 'slurm'")
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"jobs: {jobs!r} is not a whole number of at least 1")
    places = Places(*(Path(str(folder)).expanduser().resolve() for folder in (output, data, bundles)))
    planned = make_jobs(grid, places)
    write_json(places.output / EXPERIMENT, describe(grid, planned))
    chosen = choose(planned, wanted)
    threads = max(1, usable_cores() // jobs)
    left = unfinished(chosen, testing)
    if plan == "slurm":
        if not left:
            raise ValueError("plan: nothing is left to run")
        given = ["--data", places.data, "--bundles", places.bundles, *(["--test", "true"] if testing else [])]
        name_or_file = name if not str(name).endswith(".json") else Path(name).resolve()
        print(slurm_script(left, grid["name"], [name_or_file, "--output", places.output, *given], threads), end="")
        return
    options = Options(testing, threads, places.bundles)
    if to_optional(scheduler) is None:
        outcomes = run_locally(left, options, jobs, Processes())
    else:
        outcomes = run_on_dask(left, options, str(scheduler), str(places.output))
    _follow(outcomes, chosen, testing, grid["name"])


def _follow(outcomes: Generator[Outcome, None, None], jobs: Sequence[Job], test: bool, name: str) -> None:
    """Show outcomes as they arrive, and how many runs are left.

    Raises:
        KeyboardInterrupt: on Ctrl-C, and on SIGTERM, after the child processes have ended.
        SystemExit: at the end, when a run failed.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # sent by Slurm and other schedulers at the time limit
    runs = {job.name for job in jobs if job.kind == RUN}
    finished = sum(job.kind == RUN and is_finished(job, test) for job in jobs)
    count = dict.fromkeys((FINISHED, FAILED, ELSEWHERE, BLOCKED), 0)
    try:
        with closing(outcomes), tqdm(desc=name, total=len(runs), initial=finished, unit="run", mininterval=1) as bar:
            for outcome in outcomes:
                count[outcome.status] += 1
                bar.update(outcome.name in runs and outcome.status == FINISHED)
                if outcome.message:
                    tqdm.write(f"{outcome.name}: {outcome.status}: {outcome.message}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped: run it again to resume") from None
    if count[ELSEWHERE]:
        print(f"{count[ELSEWHERE]} runs are in progress in another process")
    if count[FAILED] or count[BLOCKED]:
        raise SystemExit(f"experiment: {count[FAILED]} failed, {count[BLOCKED]} need what failed: see the lines above")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def status(output: str) -> None:
    """Print which runs are finished, running, failed and left, and their durations.

    Args:
        output: folder of the experiment.
    """
    print_status(Path(str(output)))


def report(output: str) -> None:
    """Write the report of the runs so far.

    Args:
        output: folder of the experiment.
    """
    from ..experiments.report import write_report

    print(f"The report is at {write_report(Path(str(output)))}")


EXPERIMENT_COMMANDS = {"run": run, "status": status, "report": report}
