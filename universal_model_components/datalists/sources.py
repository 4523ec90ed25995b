# SPDX-License-Identifier: Apache-2.0
"""Where a preparation's cases come from: a folder, a datalist, or several datalists at once.

Each set keeps its own split, folder and name; the name is stored with its cases. Test cases are never prepared, and a
case that is a test case of one list and training of another stops the run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from .folder import folder_datalist
from .reader import SPLITS, read_datalist
from .splits import split_cases

PLAIN = ("folder", "given")  # generic names: the ids of such a list are not prefixed


@dataclass(frozen=True)
class Source:
    """One set of scans.

    Args:
        listed: its datalist.
        root: folder that its images are relative to.
        drawn: whether the split was drawn here.
    """

    listed: dict[str, Any]
    root: str
    drawn: bool

    @property
    def name(self) -> str:
        """The set's name."""
        return str(self.listed["name"])

    def cases(self) -> Iterator[dict[str, Any]]:
        """Yield what is to be prepared: case, modality, group, set, split, file and, if it is listed, fingerprint."""
        for split in SPLITS:
            for case in self.listed[split]:
                keys = {key: case[key] for key in ("case", "modality", "group", "fingerprint") if key in case}
                yield keys | {"set": self.name, "split": split, "file": str(Path(self.root) / case["image"])}

    def held_out(self) -> list[Mapping[str, Any]]:
        """Return the entries of the list `test`, which are never prepared."""
        listed = self.listed.get("test")
        return [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []

    def keep(self, usable: set[str], fraction: float, seed: int) -> Source:
        """Leave out cases without cubes; a split drawn here is drawn again, so that unusable scans do not count."""
        splits = {s: [case for case in self.listed[s] if case["case"] in usable] for s in SPLITS}
        if self.drawn:
            splits = split_cases(sorted(sum(splits.values(), []), key=itemgetter("case")), fraction, seed)
        ordered = {split: sorted(cases, key=itemgetter("case")) for split, cases in splits.items()}
        return replace(self, listed={**self.listed, **ordered})

    def without(self, cases: Collection[str]) -> Source:
        """Leave out cases; nothing is drawn again."""
        splits = {s: [case for case in self.listed[s] if case["case"] not in cases] for s in SPLITS}
        return replace(self, listed={**self.listed, **splits})

    def summary(self) -> dict[str, Any]:
        """What store.json records of the set: all of the datalist but its cases."""
        lists = {key: len(value) for key, value in self.listed.items() if isinstance(value, list)}
        facts = {key: value for key, value in self.listed.items() if isinstance(value, (str, int, float))}
        return {**facts, "root": self.root, "cases": lists}


def read_sources(
    datalist: str | Sequence[str] | None,
    dataset_dir: str | None,
    default_dir: str | None,
    modalities: Sequence[str],
    groups: str | None,
    seed: int,
    fraction: float,
) -> tuple[list[Source], list[str]]:
    """Read every requested set.

    Args:
        datalist: file, or files, whose key `root` is where their images are; None makes one of the folder.
        dataset_dir: folder of scans; takes precedence over each datalist's root, unless it is the default.
        default_dir: the default of `dataset_dir`.
        modalities: names, in the order of their labels.
        groups: CSV that names each scan's patient; for a folder only.
        seed: of splits that are drawn here, set by set.
        fraction: share of each modality's patients used for validation.

    Returns:
        The sets, and one line for each thing found wrong.

    Raises:
        ValueError: as `read_datalist` and `folder_datalist`; for two lists of one name, an id in two lists, or a test
            case that is also to be prepared.
    """
    if datalist is None:
        if dataset_dir is None:
            raise ValueError("dataset_dir: neither a folder nor a datalist was given: give one of them")
        listed, problems = folder_datalist(dataset_dir, modalities, seed, fraction, groups)
        return [Source(listed, os.path.abspath(dataset_dir), True)], problems
    if groups is not None:
        raise ValueError("groups: not used with a given datalist: write the group into its entries, or give null")
    given = None if dataset_dir == default_dir else dataset_dir
    sources, problems = [], []
    for file in [datalist] if isinstance(datalist, str) else list(datalist):
        listed, wrong = read_datalist(file, modalities)
        problems += wrong
        root = given or listed.get("root") or dataset_dir
        if root is None:
            raise ValueError(f"datalist: {file} has no 'root': add the folder of its images, or give dataset_dir")
        sources.append(_source(listed, os.path.abspath(root), seed, fraction))
    _check_names(sources)
    _check_tests(sources)
    return sources, problems


def _source(listed: Mapping[str, Any], root: str, seed: int, fraction: float) -> Source:
    """Return the set of a datalist; a missing validation split is drawn."""
    drawn = "validation" not in listed
    named = _named_ids(listed)
    if drawn:
        named |= {"seed": seed, **split_cases(named["training"], fraction, seed)}
    return Source(named, root, drawn)


def _named_ids(listed: Mapping[str, Any]) -> dict[str, Any]:
    """Prefix ids with the set's name, as sets may share patient numbers; ids that already have the prefix are kept."""
    before = f"{listed['name']}/"

    def named(case: Mapping[str, Any]) -> dict[str, Any]:
        ids = {key: str(case[key]) for key in ("case", "group") if key in case}
        return {**case} | {key: name if name.startswith(before) else before + name for key, name in ids.items()}

    if listed["name"] in PLAIN:
        return dict(listed)
    lists = {s: listed[s] for s in (*SPLITS, "test") if isinstance(listed.get(s), list)}
    return {**listed, **{s: [named(c) if isinstance(c, Mapping) else c for c in cases] for s, cases in lists.items()}}


def _check_names(sources: Sequence[Source]) -> None:
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"datalist: two sets have the name {twice[0]!r}: give each datalist a 'name' of its own")
    seen: dict[str, str] = {}
    for source in sources:
        for case in source.cases():
            if seen.setdefault(case["case"], source.name) != source.name:
                other = seen[case["case"]]
                raise ValueError(f"datalist: case {case['case']!r} is in {other!r} and {source.name!r}: rename one")


def _mark(case: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the fingerprint of a case's voxels and where they lie, as far as its list has both."""
    found = case.get("fingerprint")
    voxels, places = (found.get("voxels"), found.get("places")) if isinstance(found, Mapping) else (None, None)
    return (str(voxels), str(places)) if voxels and places else None


def _check_tests(sources: Sequence[Source]) -> None:
    """Reject a test case, of any list, that is to be prepared for any.

    Compared by file, and by content hash and the voxels' fingerprint, if the lists have them: a scan may be there in
    two formats; within a list also by id and patient.
    """
    files = {os.path.realpath(case["file"]): case["case"] for source in sources for case in source.cases()}
    listed = [case for source in sources for split in SPLITS for case in source.listed[split]]
    hashes = {case["sha256"]: case["case"] for case in listed if case.get("sha256")}
    hashes |= {mark: case["case"] for case in listed if (mark := _mark(case))}
    for source in sources:
        own = {key: {case[key] for split in SPLITS for case in source.listed[split]} for key in ("case", "group")}
        for entry in source.held_out():
            shared = [f"{key} {entry[key]!r}" for key in own if entry.get(key) in own[key]]
            file = os.path.realpath(Path(source.root) / str(entry.get("image", "")))
            same = files.get(file) or hashes.get(entry.get("sha256")) or hashes.get(_mark(entry))
            shared += [f"{file} (case {same!r})"] if same else []
            if shared:
                raise ValueError(
                    f"datalist: {shared[0]} is in 'test' of {source.name!r} and in training or validation: "
                    "test cases must not be trained on, remove it from one"
                )
