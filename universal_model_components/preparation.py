# SPDX-License-Identifier: Apache-2.0
"""From scans on disk to the store of cubes: the run that prepare.json starts.

It lists the cases, has each prepared (`cases.prepare_case`) in parallel, and says what was made and what was wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .case_files import case_file
from .cases import prepare_case
from .datalists.folder import folder_datalist
from .datalists.given import SPLITS, read_datalist
from .datalists.splits import split_cases
from .files import remove_orphans, write_json
from .planning import count_table, print_plan
from .recipes import SCALES, Recipe, make_recipe
from .settings import to_bool, to_optional
from .store import close_store, open_store
from .workers import run_parallel, usable_cores


def prepare(
    dataset_dir: str,
    cube_store: str,
    modalities: Sequence[str] = ("ct", "mri"),
    recipe: Mapping[str, Any] | None = None,
    datalist: str | None = None,
    groups: str | None = None,
    validation_fraction: float = 0.2,
    num_workers: int | None = None,
    strict: bool | str = False,
    plan: bool | str = False,
) -> dict[str, Any]:
    """Fill a store of cubes from a folder of scans; the whole of prepare.json.

    Args:
        dataset_dir: folder of scans, with a sub-folder for each modality unless a datalist is given.
        cube_store: folder to fill; finished cases in it are kept.
        modalities: names, in the order of their labels.
        recipe: settings of `Recipe`; its seed also draws the split.
        datalist: MONAI datalist; None makes one of the folder. A split that is drawn here (also for a datalist without
            `validation`) is one of the usable scans, and is written into the store as datalist.json.
        groups: CSV that names each scan's patient, see `folder.read_groups`.
        validation_fraction: share of each modality's patients that validates.
        num_workers: processes; None is one for each core, 0 works in this process.
        strict: exit non-zero when anything at all was wrong (after the good scans were prepared).
        plan: print what would be made, and write nothing.

    Returns:
        What was also written to store.json.

    Raises:
        SystemExit: with one line, when settings are wrong, the disk is full, or a modality has no training case left.
    """
    with _one_line_errors():
        modalities = [modalities] if isinstance(modalities, str) else list(modalities)
        strict, plan = to_bool(strict, "strict"), to_bool(plan, "plan")
        datalist, groups, num_workers = map(to_optional, (datalist, groups, num_workers))
        made = make_recipe(recipe or {}, modalities)
        listed, problems, drawn = _datalist(dataset_dir, datalist, groups, modalities, made.seed, validation_fraction)
        cases = list(_cases(listed, dataset_dir))
        workers = min(usable_cores() if num_workers is None else _number(num_workers), len(cases))
        if plan:
            return print_plan(cases, made, workers, problems)
        open_store(cube_store, made.to_dict())
        results = _run(cases, made, cube_store, workers, problems)
        splits = _usable(listed, results)
        if drawn:  # again, of what is left: a bad scan must not take a modality's only place in a split
            usable = sorted([*splits["training"], *splits["validation"]], key=itemgetter("case"))
            splits = split_cases(usable, validation_fraction, made.seed)
            write_json(Path(cube_store) / "datalist.json", {**listed, **splits})
        index = _index(splits, results, problems)
        close_store(cube_store, index)
    _report(index, results, cube_store, made)
    _check_enough(index, modalities, dataset_dir, strict, validation_fraction)
    return index


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what may go wrong into an exit with one line; the cause stays attached for whoever calls from Python."""
    try:
        yield
    except (ValueError, ChildProcessError) as error:
        raise SystemExit(f"prepare: {error}") from error
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
        raise SystemExit(f"prepare: {reason}; finished cases are kept, run again to go on") from error
    except KeyboardInterrupt:
        raise SystemExit("prepare: interrupted: run again to go on, finished cases are kept") from None


def _datalist(
    dataset_dir: str, datalist: str | None, groups: str | None, modalities: Sequence[str], seed: int, fraction: float
) -> tuple[dict[str, Any], list[str], bool]:
    """Return the datalist, what is wrong with it, and whether its split was drawn here."""
    if datalist is None:
        return (*folder_datalist(dataset_dir, modalities, seed, fraction, groups), True)
    if groups is not None:
        raise ValueError("groups: not used with a given datalist: write the group into its entries, or give null")
    listed, problems = read_datalist(datalist, modalities)
    if "validation" in listed:
        return listed, problems, False
    return {**listed, "seed": seed, **split_cases(listed["training"], fraction, seed)}, problems, True


def _number(num_workers: Any) -> int:
    if not isinstance(num_workers, int) or num_workers < 0:
        raise ValueError(f"num_workers: {num_workers!r} is not a number of processes: give 0 or more, or null")
    return num_workers


def _cases(listed: Mapping[str, Any], dataset_dir: str) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        for case in listed[split]:
            file = str(Path(dataset_dir) / case["image"])
            yield {key: case[key] for key in ("case", "modality", "group")} | {"split": split, "file": file}


def _run(
    cases: Sequence[Mapping[str, Any]], recipe: Recipe, cube_store: str, workers: int, problems: list[str]
) -> list[dict[str, Any]]:
    """Prepare every case; name what is wrong when it is found, and collect it in `problems`."""
    for problem in problems:
        print(problem, flush=True)
    results = []
    calls = [(case, recipe, cube_store) for case in cases]
    for result in tqdm(run_parallel(prepare_case, calls, workers), "prepare", len(cases), unit="scan", mininterval=1):
        for line in [*result["notes"], *([result["problem"]] if result["problem"] else [])]:
            tqdm.write(line)
        problems += [result["problem"]] if result["problem"] else []
        results.append(result)
    for folder in (Path(cube_store), Path(cube_store) / "cases"):
        remove_orphans(folder)
    return results


def _usable(listed: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the datalist's entries that have cubes, sorted by case."""
    good = {result["case"] for result in results if result["status"] != "skipped"}
    return {s: sorted((c for c in listed[s] if c["case"] in good), key=itemgetter("case")) for s in SPLITS}


def _index(
    splits: Mapping[str, Sequence[Mapping[str, Any]]], results: Sequence[Mapping[str, Any]], problems: Sequence[str]
) -> dict[str, Any]:
    counts = {result["case"]: result["counts"] for result in results}
    entries = {
        split: [
            {key: case[key] for key in ("case", "modality", "group")} | {"counts": counts[case["case"]]}
            for case in cases
        ]
        for split, cases in splits.items()
    }
    return {"splits": entries, "problems": list(problems)}


def _report(index: Mapping[str, Any], results: Sequence[Mapping[str, Any]], cube_store: str, recipe: Recipe) -> None:
    rows = [{**case, "split": split} for split, cases in index["splits"].items() for case in cases]
    status = Counter(result["status"] for result in results)
    size = sum(case_file(cube_store, row["case"]).stat().st_size for row in rows)
    print(count_table(rows))
    print(f"{cube_store}: {len(rows)} cases ({status['made']} made, {status['kept']} kept from before), ", end="")
    print(f"{sum(sum(row['counts']) for row in rows)} cubes, {size / 1e6:.0f} MB; ", end="")
    print(f"{sum(result['airy'] for result in results)} cubes are almost all air after all draws")
    for scale, name in enumerate(SCALES):
        without = sum(not row["counts"][scale] for row in rows) if recipe.cubes_per_volume[name] else 0
        if without:
            print(f"scale {name!r} skipped for {without} scans: a side of its crop is under {recipe.minimum_crop:g} mm")
    for problem in index["problems"]:
        print(f"wrong: {problem}")


def _check_enough(
    index: Mapping[str, Any], modalities: Sequence[str], dataset_dir: str, strict: bool, fraction: float
) -> None:
    """Stop when a modality has no training case, or with `strict` when anything was wrong; warn of no validation."""
    count = {split: Counter(case["modality"] for case in cases) for split, cases in index["splits"].items()}
    lacking = [name for name in modalities if not count["training"][name]]
    if lacking:
        raise SystemExit(
            f"prepare: no training case of {lacking[0]!r} left in {dataset_dir}: add scans or change modalities"
        )
    if strict and index["problems"]:
        raise SystemExit(f"prepare: {len(index['problems'])} problems, listed above, and strict is true: mend them")
    for name in modalities:
        if fraction and not count["validation"][name]:
            print(f"no validation case of {name!r} in {dataset_dir}: add scans of another patient")
