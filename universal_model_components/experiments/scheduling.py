# SPDX-License-Identifier: Apache-2.0
"""Which jobs are left, and in what order they are done: on this machine, on a Dask cluster, or by a Slurm array."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from .. import __version__
from ..utils.cluster import run_on_cluster
from .jobs import FOLDERS, RUN, Job
from .processes import Processes
from .runs import BLOCKED, FAILED, Options, Outcome, is_finished, perform

FILTERS = ("run", "kind", "task", "system", "seed", "labels", "label_noise")
SHOWN = 20  # values in a message


def read_filter(only: str | None) -> dict[str, set[str]]:
    """Read a filter such as "task=hippocampus|flair,seed=0".

    Returns:
        Key → values, of which a run must have one each.

    Raises:
        ValueError: when it is not of this form, or has an unknown key.
    """
    found: dict[str, set[str]] = {}
    for part in str(only).split(",") if only is not None else []:
        key, equals, values = part.strip().partition("=")
        if key not in FILTERS or not equals:
            raise ValueError(f'only: {part!r}: give "KEY=VALUE|VALUE,KEY=VALUE" with keys of {list(FILTERS)}')
        if key in found:
            raise ValueError(f"only: {key} is given twice: write {key}=VALUE|VALUE")
        found[key] = {value.strip() for value in values.split("|")}
    return found


def choose(jobs: Sequence[Job], wanted: Mapping[str, Collection[str]]) -> list[Job]:
    """Return the runs that pass a filter, and the jobs that they need, in their order.

    Pre-trainings pass only where the filter has "run" or "kind".

    Raises:
        ValueError: when nothing passes, or a value is that of no job.
    """
    facts = {job.name: {"kind": job.kind, **job.facts} for job in jobs}
    for key, values in wanted.items():
        known = {str(of_job[key]) for of_job in facts.values() if key in of_job}
        if unknown := sorted(set(values) - known):
            few = sorted(known)[:SHOWN]
            raise ValueError(f"only: no run has {key} {unknown}: give {few}{' …' * (len(known) > SHOWN)}")
    chosen = {
        job.name
        for job in jobs
        if (job.kind == RUN or wanted.keys() & {"run", "kind"})
        and all(str(facts[job.name].get(key)) in values for key, values in wanted.items())
    }
    if not chosen:
        raise ValueError(f"only: no run has { ({key: sorted(values) for key, values in wanted.items()}) }")
    return _with_needs(jobs, chosen)


def _with_needs(jobs: Sequence[Job], names: Collection[str]) -> list[Job]:
    kept = set(names)
    for job in reversed(jobs):  # what a job needs comes before it
        kept |= set(job.needs) if job.name in kept else set()
    return [job for job in jobs if job.name in kept]


def unfinished(jobs: Sequence[Job], test: bool) -> list[Job]:
    """Return the jobs to do: those without a record that are runs, or that such a run needs."""
    finished = {job.name for job in jobs if is_finished(job, test)}
    ends = {job.name for job in jobs} - {name for job in jobs for name in job.needs}
    kept = ends - finished
    for job in reversed(jobs):
        kept |= set(job.needs) - finished if job.name in kept else set()
    return [job for job in jobs if job.name in kept]


def run_locally(
    jobs: Sequence[Job], options: Options, workers: int, processes: Processes
) -> Generator[Outcome, None, None]:
    """Do jobs on this machine, several at a time, and yield their outcomes.

    A job begins when what it needs has finished; until then later ones go first.

    Args:
        jobs: in their order; needs that are not among them have finished.
        options: how.
        workers: jobs at a time.
        processes: their processes; they are stopped when this ends early.
    """
    left, running, waited = list(jobs), dict[Future, Job](), {job.name for job in jobs}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while left or running:
                ready = [job for job in left if waited.isdisjoint(job.needs)]
                for job in ready[: workers - len(running)]:
                    left.remove(job)
                    running[pool.submit(perform, job, options, processes)] = job
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job, outcome = running.pop(future), future.result()
                    yield outcome
                    if outcome.status == FAILED:
                        left, blocked = _block(left, {job.name})
                        yield from blocked
                    else:
                        waited.discard(job.name)
        finally:
            processes.stop()


def _block(left: Sequence[Job], failed: set[str]) -> tuple[list[Job], list[Outcome]]:
    """Take out the jobs that need a failed one."""
    kept, blocked, names = [], [], set(failed)
    for job in left:
        missing = names.intersection(job.needs)
        if missing:
            names.add(job.name)
            blocked.append(Outcome(job.name, BLOCKED, f"needs {min(missing)}"))
        else:
            kept.append(job)
    return kept, blocked


def cluster_version() -> str:
    """Return the version of this package, where it is called."""
    return __version__


def perform_alone(job: Job, options: Options) -> Outcome:
    """Do a job as `runs.perform`, on a cluster's worker."""
    return perform(job, options, Processes())


def run_on_dask(jobs: Sequence[Job], options: Options, address: str, folder: str) -> Generator[Outcome, None, None]:
    """Do jobs on a Dask cluster, and yield their outcomes: stores first, then pre-trainings, then runs.

    Pre-trainings that continue others come after those.

    Args:
        jobs: in their order.
        options: how.
        address: of the scheduler.
        folder: that every worker must see.

    Raises:
        ValueError: when there is no such scheduler, or a worker cannot take part; one line.
        ChildProcessError: when the scheduler is lost.
    """
    left = list(jobs)
    while left:
        kind = next(kind for kind in FOLDERS if any(job.kind == kind for job in left))
        names = {job.name for job in left}
        ready = [job for job in left if job.kind == kind and names.isdisjoint(job.needs)]
        left = [job for job in left if job not in ready]
        outcomes: Iterable[Outcome] = run_on_cluster(
            *(perform_alone, [(job, options) for job in ready], address, folder),
            lost=lambda call, why: Outcome(call[0].name, FAILED, why),
            version=cluster_version,
        )
        for outcome in outcomes:
            yield outcome
            if outcome.status == FAILED:
                left, blocked = _block(left, {outcome.name})
                yield from blocked


def slurm_script(jobs: Sequence[Job], name: str, arguments: Sequence[Any], threads: int) -> str:
    """Return a Slurm array script: a line for each job, pre-trainings first; runs wait for theirs.

    Args:
        jobs: to do.
        name: of the experiment.
        arguments: of `experiment run`, without a filter.
        threads: of each process.

    Raises:
        ValueError: when there are stores alone, which pre-trainings make.
    """
    first = sorted((job for job in jobs if "system" in job.facts), key=lambda job: job.kind == RUN)
    if not first:
        raise ValueError("plan: stores alone are no array: leave out kind=store, pre-trainings make theirs")
    names = "\n".join(f"  {shlex.quote(job.name)}" for job in first)
    command = shlex.join(
        [sys.executable, "-m", "universal_model_components", "experiment", "run", *map(str, arguments)]
    )
    return (
        "#!/bin/bash\n"
        f"#SBATCH --job-name={shlex.quote(name)}\n"
        f"#SBATCH --array=0-{len(first) - 1}\n"
        f"#SBATCH --cpus-per-task={threads}\n"
        "# for one GPU a line, remove a number sign:\n"
        "##SBATCH --gres=gpu:1\n"
        "runs=(\n"
        f"{names}\n"
        ")\n"
        f'exec {command} --only "run=${{runs[$SLURM_ARRAY_TASK_ID]}}"\n'
    )
