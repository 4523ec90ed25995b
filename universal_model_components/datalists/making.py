# SPDX-License-Identifier: Apache-2.0
"""From the cases found on disk to a datalist: split, read and hash the files, check the counts, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..imaging.errors import ScanError
from ..imaging.geometry import Grid, check_same_grid
from ..utils.files import write_text
from ..utils.settings import to_optional
from .findings import Findings
from .inspection import inspect_files
from .request import Request
from .splits import assign, draw_test, strata_of, without_copies

SPLITS = ("training", "validation", "test")
CACHE = ".datalist_cache.jsonl"
Case = dict[str, Any]
Paper = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class MaskValues:
    """Which labels a mask may hold.

    Args:
        allowed: documented values.
        required: values that every mask must have.
        strays: values that are known to occur by mistake; they are noted, not rejected.
    """

    allowed: Collection[int]
    required: Collection[int] = ()
    strays: Collection[int] = field(default=())


def choose_test(cases: Sequence[Case], paper: Paper, seed: int, test_ids: Any, findings: Findings) -> set[str]:
    """Return the test groups: drawn by seed and class, or read from a file.

    Args:
        cases: keys group and stratum.
        paper: by class, how many groups train (and validate) and how many test.
        seed: of the draw.
        test_ids: text file with one patient id a line, None to draw.
        findings: gets a note that says which.

    Raises:
        ValueError: when the file cannot be read, or names an unknown patient.
    """
    file, members = to_optional(test_ids), strata_of(cases)
    if file is None:
        wanted = {name: (test, train + test) for name, (train, test) in paper.items()}
        findings.notes.append(f"test cases drawn by hash with seed {seed}")
        return draw_test(members, wanted, seed)
    try:
        lines = Path(str(file)).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"test_ids: cannot read {file} ({error}): give a text file with one patient id a line"
        ) from None
    ids = [line.strip() for line in lines if line.strip()]
    groups = {name: case["group"] for case in cases for name in (case["group"], case["id"])}
    missing = [name for name in ids if name not in groups]
    if missing or not ids:
        raise ValueError(
            f"test_ids: {file}: {missing[0] if ids else 'nothing'!r} is not a patient here: correct the file"
        )
    findings.notes.append(f"test cases from {file}")
    return {groups[name] for name in ids}


def _inspect_cases(
    cases: Sequence[Case], request: Request, findings: Findings, masks: MaskValues | None = None
) -> list[Case]:
    """Read and hash the files of cases; return the usable ones, with their hashes, and report the others.

    A case with the key `problem` (a missing partner) only keeps its place in the split, so that the pre-training
    and fine-tuning lists of a set agree on all other cases.
    """
    findings.problems += [case["problem"] for case in cases if "problem" in case]
    cases = [case for case in cases if "problem" not in case]
    files = {str(request.root / case["image"]): "image" for case in cases}
    files |= {str(request.root / case["label"]): "mask" for case in cases if isinstance(case.get("label"), str)}
    jobs = [{"file": file, "kind": kind} for file, kind in files.items()]
    found = inspect_files(jobs, request.output.parent / CACHE, request.num_workers)
    good, values = [], set()
    for case in cases:
        image = found[str(request.root / case["image"])]
        mask = found[str(request.root / case["label"])] if isinstance(case.get("label"), str) else None
        problem = image["problem"] or (mask and (mask["problem"] or _mismatch(image, mask)))
        if problem:
            findings.problems.append(problem)
            continue
        case = {**case, "sha256": image["sha256"], "fingerprint": image["fingerprint"]}
        if mask:
            case["label_sha256"] = mask["sha256"]
            values |= {value for value, _ in mask["labels"]}
            _check_mask(mask, masks, findings)
        good.append({**case, "grid": (image["shape"], image["affine"])})
    findings.note_files(found.values())
    if values:
        findings.notes.append(f"label values found: {sorted(values)}")
    return good


def _mismatch(image: Mapping[str, Any], mask: Mapping[str, Any]) -> str | None:
    label, scan = (Grid(found["file"], found["shape"], np.asarray(found["affine"])) for found in (mask, image))
    try:
        check_same_grid(label, scan)
    except ScanError as error:
        return str(error)
    return None


def _check_mask(mask: Mapping[str, Any], wanted: MaskValues | None, findings: Findings) -> None:
    if wanted is None:
        return
    counts = dict(mask["labels"])
    for value in sorted(set(counts) - set(wanted.allowed)):
        lines = findings.notes if value in wanted.strays else findings.differences
        lines.append(
            f"{mask['file']}: {counts[value]} voxels of label {value}, documented are {sorted(wanted.allowed)}"
        )
    for value in sorted(set(wanted.required) - set(counts)):
        findings.differences.append(f"{mask['file']}: no voxel of label {value}")


def make_datalist(
    request: Request,
    cases: Sequence[Case],
    test: Collection[str],
    findings: Findings,
    paper: Mapping[str, tuple[int | None, int | None]],
    unit: str = "patients",
    masks: MaskValues | None = None,
    check: Callable[[Mapping[str, list[Case]]], None] | None = None,
    validation: Collection[str] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Split the cases, read their files, check the counts against the paper's, print what was found, and write.

    Args:
        request: the request.
        cases: keys image, modality, case, group, id and stratum, by task also label, and others that are kept; or
            `problem`, one line that says why the case cannot be used.
        test: test groups.
        findings: what was found so far.
        paper: by class, how many units train (and validate) and how many test; None where no number is expected.
        unit: "patients", or "scans" where a patient may have several.
        masks: label values that are expected.
        check: further checks of what is left in each split.
        validation: validation groups; drawn from the groups outside the test set when absent.
        extra: further top-level keys of the datalist.

    Raises:
        ValueError: when something differs from the paper or was skipped, and `allow_partial` is false; then nothing
            is written.
    """
    splits = assign(cases, test, request.validation_fraction, request.seed, validation)
    chosen = [{**case, "split": split} for split in SPLITS for case in splits[split]]
    usable, copies = without_copies(_inspect_cases(chosen, request, findings, masks))
    findings.problems += copies
    left = {split: [case for case in usable if case["split"] == split] for split in SPLITS}
    _count(left, paper, unit, findings)
    if check is not None:
        check(left)
    content = {
        **request.to_dict(),
        **extra,
        **findings.to_dict(),
        **{split: [_entry(case) for case in sorted(left[split], key=lambda case: case["case"])] for split in SPLITS},
    }
    _conclude(request, content, findings)
    return content


def _count(
    splits: Mapping[str, list[Case]],
    paper: Mapping[str, tuple[int | None, int | None]],
    unit: str,
    findings: Findings,
) -> None:
    key = "case" if unit == "scans" else "group"
    for name, (train, test) in paper.items():
        for what, parts, expected in (("train and validation", SPLITS[:2], train), ("test", SPLITS[2:], test)):
            names = {case[key] for part in parts for case in splits[part] if case["stratum"] == name}
            findings.count(f"{name} {unit} {what}".strip(), len(names), expected)


def _conclude(request: Request, content: Mapping[str, Any], findings: Findings) -> None:
    """Print what was found and write the datalist, unless something differs and that is not allowed.

    Raises:
        ValueError: see `make_datalist`.
    """
    findings.print()
    if not any(content[split] for split in SPLITS):
        raise ValueError(
            f"datalist {request.name}: no usable scan in {request.root}: give the folder that it was unpacked into; "
            "nothing was written"
        )
    wrong = len(findings.differences) + len(findings.problems)
    if wrong and not request.allow_partial:
        raise ValueError(
            f"datalist {request.name}: {wrong} differences, listed above; nothing was written: "
            "complete the data, or give --allow_partial true to continue with the available files"
        )
    if not content["training"]:
        raise ValueError(f"datalist {request.name}: no training case in {request.root}: nothing was written")
    write_datalist(request.output, content)
    sizes = ", ".join(f"{len(content[split])} {split}" for split in SPLITS)
    print(f"{request.output}: {sizes} cases of {request.name} for {request.stage}")


def _entry(case: Case) -> Case:
    """Remove keys that are only needed while making the datalist."""
    return {key: value for key, value in case.items() if key not in ("id", "split", "grid") and value != ""}


def write_datalist(file: Path, content: Mapping[str, Any]) -> None:
    """Write a datalist with one line for each entry, so that two of them can be compared line by line; atomically."""
    lines = []
    for key, value in content.items():
        if isinstance(value, list) and value:
            entries = ",\n".join("  " + json.dumps(entry) for entry in value)
            lines.append(f"{json.dumps(key)}: [\n{entries}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    write_text(file, text)
