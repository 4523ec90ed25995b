# SPDX-License-Identifier: Apache-2.0
"""Leakage between datalists: the same patient, or the same scan in any file, used for training and for testing.

A leak is a test case of any list among the training or validation cases of any list, or a validation case of a target
task, or of the same list, among training cases. Pre-training lists validate on cases that target tasks may train on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..imaging.scan_files import stem
from .fingerprints import likeness
from .inspection import inspect_files
from .making import CACHE, SPLITS
from .reader import check_keys, entries_of, open_datalist


@dataclass
class Member:
    """One case of one datalist.

    Args:
        source: the datalist's file.
        split: "training", "validation" or "test".
        file: the scan.
        entry: as in the datalist; its fingerprint is added when it lacks one.
        is_target: whether the list is of a target task: some entry has a label or candidates.
        root: folder that the entry's path is relative to.
    """

    source: str
    split: str
    file: Path
    entry: dict[str, Any]
    is_target: bool
    root: Path

    def __str__(self) -> str:
        """Name the case, its list and its file."""
        return f"{self.split} case {self.entry.get('case', self.entry['image'])} of {self.source} ({self.file})"


@dataclass
class Leakage:
    """What a check found.

    Args:
        leaks: one line each.
        unread: one line for each scan whose content could not be compared.
        compared: cases of all lists.
        with_patient: of them, those with a patient's id (not only a file's name).
    """

    leaks: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    compared: int = 0
    with_patient: int = 0


def read_members(file: str | Path, root: str | Path | None = None) -> list[Member]:
    """Read the cases of a datalist.

    Args:
        file: JSON with lists `training`, `validation`, `test`, those that it has.
        root: folder that its paths are relative to; by default the list's `root`, or else the list's folder.

    Raises:
        ValueError: when the file cannot be read, has none of the lists, or an entry has no image.
    """
    content = open_datalist(file)
    if not any(isinstance(content.get(split), list) for split in SPLITS):
        raise ValueError(f"datalist: {file} has no list {', '.join(SPLITS)}: give a MONAI datalist")
    entries = [(split, entry) for split in SPLITS for entry in entries_of(content, file, split)]
    for place, (split, entry) in enumerate(entries):
        check_keys(f"datalist: {file}: entry {place} ({split})", entry, ("image",))
    is_target = any("label" in entry or "candidates" in entry for _, entry in entries)
    base = Path(root or content.get("root") or Path(file).parent)
    return [Member(str(file), split, base / entry["image"], entry, is_target, base) for split, entry in entries]


def patient_of(member: Member) -> str | None:
    """Return the patient's id; None when the group was only derived from the file's name."""
    group = member.entry.get("group")
    image, case = str(member.entry["image"]), str(member.entry.get("case", ""))
    names = {stem(image), stem(case) if case.endswith(image) else None}
    return None if group is None or stem(str(group)) in names else str(group)


def find_leakage(members: Sequence[Member], cache: str | Path | None = None, num_workers: int | None = None) -> Leakage:
    """Compare cases by patient and by content.

    Args:
        members: of all lists.
        cache: see `inspection.inspect_files`; used for entries without a fingerprint, whose files are read.
        num_workers: processes that read.
    """
    result = Leakage(compared=len(members), with_patient=sum(patient_of(member) is not None for member in members))
    lacking = [member for member in members if "fingerprint" not in member.entry]
    jobs = {str(member.file): {"file": str(member.file), "kind": "image"} for member in lacking}
    found = inspect_files(list(jobs.values()), cache, num_workers)
    for member in lacking:
        seen = found[str(member.file)]
        member.entry.update({"fingerprint": seen["fingerprint"]} if seen["problem"] is None else {})
    result.unread = sorted({seen["problem"] for seen in found.values() if seen["problem"]})
    for first, second in _pairs(members):
        held, trained = (first, second) if is_leak(first, second) else (second, first)
        reason = _same(first, second) if is_leak(held, trained) else None
        if reason:
            result.leaks.append(f"{held} is {trained}: {reason}")
    return result


def is_leak(held: Member, trained: Member) -> bool:
    """Return whether it is a leak if the first is the same patient or scan as the second."""
    if held.split == "test":
        return trained.split != "test"
    is_ours = held.is_target or held.source == trained.source
    return held.split == "validation" and trained.split == "training" and is_ours


def _pairs(members: Sequence[Member]) -> Iterator[tuple[Member, Member]]:
    """Yield the pairs that share a key, each once; comparing all pairs would take hours for thousands of scans."""
    places: dict[str, list[int]] = {}
    for index, member in enumerate(members):
        for key in _keys(member):
            places.setdefault(key, []).append(index)
    pairs = {(i, j) for shared in places.values() for n, j in enumerate(shared) for i in shared[:n]}
    yield from ((members[i], members[j]) for i, j in sorted(pairs))


def _keys(member: Member) -> Iterator[str]:
    patient, mark = patient_of(member), member.entry.get("fingerprint")
    if patient is not None:
        yield f"patient {patient}"
    yield f"file {member.file}"
    if mark:
        yield f"voxels {mark['voxels']}"
        yield from (f"level {name}" for name in mark["levels"])


def _same(first: Member, second: Member) -> str | None:
    """Return in what respect two cases are the same."""
    marks: list[Mapping[str, Any] | None] = [member.entry.get("fingerprint") for member in (first, second)]
    like = likeness(marks[0], marks[1]) if marks[0] and marks[1] else None
    if like is None and first.file == second.file:
        like = "the same file"
    patient = patient_of(first)
    if patient is not None and patient == patient_of(second):
        return f"the same patient {patient!r}" + (f" and {like}" if like else "")
    return like


def check(*files: str, root: str | None = None, num_workers: int | None = None) -> None:
    """Look for leakage between (and within) datalists; a leak raises an error.

    Detected are the same patient by `group`, and the same scan by its voxels: saved again in another format, type or
    orientation, with an offset, scale or moderate clip of intensities, or as another data set's case. Not detected are
    scans that were resampled, cropped or filtered, other scans of one person, unless the patient's id is the same.

    Args:
        files: datalists, pre-training and target tasks together.
        root: folder of the scans of lists without a `root`.
        num_workers: processes that read scans whose list has no fingerprints; one for each core when absent.
    """
    if not files:
        raise ValueError("datalist check: no datalist given: name those of pre-training and of the target tasks")
    members = [member for file in dict.fromkeys(map(str, files)) for member in read_members(file, root)]
    folder = Path(str(files[0])).parent
    cache = folder / CACHE if os.access(folder, os.W_OK) else None  # someone else's lists may be read-only
    result = find_leakage(members, cache, num_workers)
    for kind, lines in (("leak", result.leaks), ("not compared", result.unread)):
        for line in lines:
            print(f"{kind}: {line}")
    named = f"{result.with_patient} with a patient's id"
    print(f"{result.compared} cases of {len(set(files))} datalists, {named}: {len(result.leaks)} leaks")
    if result.leaks:
        raise ValueError(f"datalist check: {len(result.leaks)} leaks, listed above: draw the splits again, by patient")
    if result.unread:
        raise ValueError(f"datalist check: {len(result.unread)} scans could not be compared by content, listed above")
