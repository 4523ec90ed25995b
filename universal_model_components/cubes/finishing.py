# SPDX-License-Identifier: Apache-2.0
"""The end of a preparation: copies are left out, splits that were drawn here and the index are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datalists.reader import SPLITS
from ..datalists.sources import Source
from ..datalists.splits import without_copies
from ..utils.files import remove_orphans, safe_name, write_json
from .store import close_store


def finish(
    cube_store: str,
    sources: Sequence[Source],
    results: Sequence[Mapping[str, Any]],
    problems: list[str],
    fraction: float,
    seed: int,
) -> dict[str, Any]:
    """Write the splits and the index of a store whose cases are prepared.

    Args:
        cube_store: folder.
        sources: sets of scans, as they were read.
        results: of `cases.prepare_case`, for each of their cases.
        problems: so far; scans that are left out as copies of held-out ones are added.
        fraction: share of each modality's patients used for validation, where the split is drawn here.
        seed: of that split.

    Returns:
        The content of store.json but its recipe: sets, the cases of each split, problems.

    Raises:
        OSError: when a file cannot be written.
    """
    for folder in (Path(cube_store), Path(cube_store) / "cases"):
        remove_orphans(folder)
    good = {result["case"] for result in results if result["status"] in ("made", "kept")}
    sources = [source.keep(good, fraction, seed) for source in sources]
    sources = _without_copies(sources, {result["case"]: result["fingerprint"] for result in results}, problems)
    _write_drawn(cube_store, sources)
    index = _index(sources, results, problems)
    close_store(cube_store, index)
    return index


def _without_copies(
    sources: Sequence[Source], marks: Mapping[str, Mapping[str, Any]], problems: list[str]
) -> list[Source]:
    """Leave out training cases whose scan is also a validation case; the splits are not drawn again."""
    listed = [case for source in sources for case in source.cases()]
    marked = [{**c, "image": c["file"], "fingerprint": {"places": "", **marks[c["case"]]}} for c in listed]
    kept, copies = without_copies(marked)  # earlier datalists lack places
    problems += copies
    left_out = {case["case"] for case in listed} - {case["case"] for case in kept}
    return [source.without(left_out) for source in sources]


def _write_drawn(cube_store: str, sources: Sequence[Source]) -> None:
    """Save the splits that were drawn here beside the cubes."""
    for source in sources:
        if source.drawn:
            name = "datalist.json" if len(sources) == 1 else f"datalist_{safe_name(source.name)}.json"
            write_json(Path(cube_store) / name, {**source.listed, "root": source.root})


def _index(sources: Sequence[Source], results: Sequence[Mapping[str, Any]], problems: Sequence[str]) -> dict[str, Any]:
    """Return the content of store.json besides the recipe: sets, the cases of each split, problems."""
    counts = {result["case"]: result["counts"] for result in results}
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for case in (case for source in sources for case in source.cases()):
        kept = {key: case[key] for key in ("case", "modality", "group", "set")}
        entries[case["split"]].append(kept | {"counts": counts[case["case"]]})
    sets = {source.name: source.summary() for source in sources}
    return {"splits": entries, "sets": sets, "problems": list(problems)}
