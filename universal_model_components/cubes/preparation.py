# SPDX-License-Identifier: Apache-2.0
"""From scans on disk to the store of cubes: the run that prepare.json starts.

It lists the cases, prepares them in parallel (`cases.prepare_case`), and reports results and problems.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..datalists.sources import Source, read_sources
from ..imaging.hdf5 import case_file
from ..utils.checks import check_values, share
from ..utils.cluster import cluster_threads, run_on_cluster
from ..utils.errors import user_error
from ..utils.locks import locked
from ..utils.parallel import run_parallel, usable_cores
from ..utils.settings import to_bool, to_optional
from .cases import FLAT_SHARE, case_version, prepare_case, skipped
from .finishing import finish
from .planning import count_table, print_plan
from .recipe import SCALES, Recipe, make_recipe
from .store import open_store

LOCK = ".prepare.lock"  # in the store


def prepare_cubes(
    dataset_dir: str | None,
    cube_store: str,
    modalities: Sequence[str] = ("ct", "mri"),
    recipe: Mapping[str, Any] | None = None,
    datalist: str | Sequence[str] | None = None,
    groups: str | None = None,
    validation_fraction: float = 0.2,
    num_workers: int | None = None,
    scheduler: str | None = None,
    flat_share: float = FLAT_SHARE,
    strict: bool | str = False,
    plan: bool | str = False,
    default_dir: str | None = None,
    report: Callable[[str], Path] | None = None,
) -> dict[str, Any]:
    """Fill a store of cubes from a folder of scans, or from datalists; the entry point of prepare.json.

    Args:
        dataset_dir: folder of scans, with a sub-folder for each modality unless a datalist is given; None is each
            datalist's own `root`.
        cube_store: folder to fill; finished cases in it are kept.
        modalities: names, in the order of their labels.
        recipe: settings of `Recipe`; its seed also draws the split.
        datalist: MONAI datalist, or several; None lists the folder. A split that is drawn here (also for a datalist
            without `validation`) contains usable scans only, and is written to the store. A list `test` is never
            prepared.
        groups: CSV with each scan's patient, see `folder.read_groups`.
        validation_fraction: share of each modality's patients used for validation.
        num_workers: processes; None is one per core, 0 runs in this process.
        scheduler: address of a Dask scheduler to use instead; its workers must see the same paths.
        flat_share: a scan is left out where more than this share of its voxels has one intensity after clipping.
        strict: exit non-zero when there was any problem (after all usable scans are prepared).
        plan: print an estimate, and write nothing.
        default_dir: the default of `dataset_dir`; a datalist's own `root` takes precedence over it.
        report: writes a page about the finished store, such as `write_store_report`; None writes none.

    Returns:
        The content of store.json.

    Raises:
        ValueError: when settings are wrong, another process fills the store, a modality has no training case left, or
            `strict` is true and there was any problem.
        OSError: when the store cannot be written, or the cluster or a worker process is lost.
        KeyboardInterrupt: when the run is interrupted; the message says how to resume.
    """
    with _keep_going_hint():
        modalities = [modalities] if isinstance(modalities, str) else list(modalities)
        strict, plan = to_bool(strict, "strict"), to_bool(plan, "plan")
        datalist, groups, dataset_dir = map(to_optional, (datalist, groups, dataset_dir))
        made = make_recipe(recipe or {}, modalities)
        check_values({"flat_share": flat_share}, {"flat_share": share(zero=False)})
        settings = (datalist, dataset_dir, default_dir, modalities, groups, made.seed, validation_fraction)
        sources, problems = read_sources(*settings)
        cases = [case for source in sources for case in source.cases()]
        scheduler = to_optional(scheduler)
        number = cluster_threads(scheduler) if scheduler else _number(to_optional(num_workers))
        _announce(sources, problems)
        if plan:
            return print_plan(cases, made, min(number, len(cases)), problems)
        with _alone(cube_store):
            open_store(cube_store, made.to_dict())
            results = _run(_work(cases, made, cube_store, flat_share, number, scheduler), len(cases), problems)
            index = finish(cube_store, sources, results, problems, validation_fraction, made.seed)
            page = report(cube_store) if report else None
    _report(index, results, cube_store, made)
    if page:
        print(f"report: {page}")
    _check_enough(index, modalities, strict, validation_fraction)
    return index


@contextmanager
def _keep_going_hint() -> Iterator[None]:
    """Add to the error of a full disk, or of Ctrl-C, how to resume: finished cases are kept."""
    try:
        yield
    except ChildProcessError:
        raise
    except OSError as error:
        raise OSError(f"{user_error(error)}; finished cases are kept, run again to resume") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run again to resume, finished cases are kept") from None


@contextmanager
def _alone(cube_store: str) -> Iterator[None]:
    """Keep other runs of prepare.json from filling the same store meanwhile.

    Raises:
        ValueError: when one does.
    """
    with locked(Path(cube_store) / LOCK) as lock:
        if lock is None:
            raise ValueError(f"cube_store: another run fills {cube_store} now: wait for it, or give another cube_store")
        yield


def _number(num_workers: Any) -> int:
    if num_workers is None:
        return usable_cores()
    if not isinstance(num_workers, int) or num_workers < 0:
        raise ValueError(f"num_workers: {num_workers!r} is not a number of processes: give 0 or more, or null")
    return num_workers


def _announce(sources: Sequence[Source], problems: Sequence[str]) -> None:
    """Print the sets, the number of their test cases, and the problems of their lists."""
    for source in sources:
        held, count = len(source.held_out()), sum(1 for _ in source.cases())
        alone = f"; {held} test cases are not prepared" if held else ""
        print(f"set {source.name!r}: {count} cases in {source.root}{alone}", flush=True)
    for problem in problems:
        print(problem, flush=True)


def _work(
    cases: Sequence[Mapping[str, Any]],
    recipe: Recipe,
    cube_store: str,
    flat_share: float,
    workers: int,
    scheduler: str | None,
) -> Iterator[dict[str, Any]]:
    """Prepare every case, in processes of this machine or on a cluster, and yield the results as they complete."""
    if scheduler is None:
        calls = [(case, recipe, cube_store, flat_share) for case in cases]
        return run_parallel(prepare_case, calls, min(workers, len(cases)))
    store = os.path.abspath(cube_store)
    calls = [({**case, "file": os.path.abspath(case["file"])}, recipe, store, flat_share) for case in cases]
    return run_on_cluster(
        *(prepare_case, calls, scheduler, store),
        lost=lambda call, why: skipped(call[0], f"{call[0]['file']}: {why}"),
        version=case_version,
    )


def _run(work: Iterator[dict[str, Any]], total: int, problems: list[str]) -> list[dict[str, Any]]:
    """Collect the results; print problems as they occur, and collect them in `problems`."""
    results = []
    for result in tqdm(work, "prepare", total, unit="scan", mininterval=1):
        for line in [*result["notes"], *([result["problem"]] if result["problem"] else [])]:
            tqdm.write(line)
        problems += [result["problem"]] if result["problem"] else []
        results.append(result)
    return results


def _report(index: Mapping[str, Any], results: Sequence[Mapping[str, Any]], cube_store: str, recipe: Recipe) -> None:
    rows = [{**case, "split": split} for split, cases in index["splits"].items() for case in cases]
    status = Counter(result["status"] for result in results)
    size = sum(case_file(cube_store, row["case"]).stat().st_size for row in rows)
    print(count_table(rows))
    print(f"{cube_store}: {len(rows)} cases ({status['made']} made, {status['kept']} kept from before), ", end="")
    print(f"{sum(sum(row['counts']) for row in rows)} cubes, {size / 1e6:.3g} MB; ", end="")
    print(f"{sum(result['mostly_background'] for result in results)} cubes are mostly background after all draws")
    if status["flat"]:
        print(f"flat after clipping and left out, see flat_share: {status['flat']} scans")
    for scale, name in enumerate(SCALES):
        without = sum(not row["counts"][scale] for row in rows) if recipe.cubes_per_volume[name] else 0
        if without:
            print(f"scale {name!r} skipped for {without} scans: a side of its crop is under {recipe.minimum_crop:g} mm")
    for problem in index["problems"]:
        print(f"wrong: {problem}")


def _check_enough(index: Mapping[str, Any], modalities: Sequence[str], strict: bool, fraction: float) -> None:
    """Raise when a modality has no training case, or with `strict` on any problem; warn when validation is empty."""
    count = {split: Counter(case["modality"] for case in cases) for split, cases in index["splits"].items()}
    where = ", ".join(found["root"] for found in index["sets"].values())
    lacking = [name for name in modalities if not count["training"][name]]
    if lacking:
        raise ValueError(f"no training case of {lacking[0]!r} left in {where}: add scans or change modalities")
    if strict and index["problems"]:
        raise ValueError(f"{len(index['problems'])} problems, listed above, and strict is true: fix or remove them")
    for name in modalities:
        if fraction and not count["validation"][name]:
            print(f"no validation case of {name!r} in {where}: add scans of another patient")
