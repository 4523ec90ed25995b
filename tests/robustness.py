# SPDX-License-Identifier: Apache-2.0
"""The table of bad input: every kind, and what each command that takes it says; `docs/robustness.md` shows it.

    python tests/robustness.py      writes the page's tables, with the lines that the commands say now

To add a kind, add a `Bad` to `TABLE` and run this. `tests/project/test_robustness.py` calls every way in
(`ways_in.WAYS`) with every kind, and compares the page's rows with the table.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bad_files as bad
import numpy as np
import torch
from conftest import REPOSITORY
from scan_files import body
from ways_in import WAYS, line_of

from universal_model_components.tasks.settings import check_settings

PAGE = REPOSITORY / "docs" / "robustness.md"
CELL = "| {} | {} | {} |"


@dataclass(frozen=True)
class Bad:
    """A kind of bad input.

    Args:
        group: what it is, a key of `WAYS`, or "setting".
        kind: in words, for the page.
        make: writes it into a folder and returns its path; of a setting, the mapping that is checked.
        says: key words of the line, a regular expression; all commands' lines match it.
        commands: those that say so; None is all of the group. The others accept it, or do not read that part.
    """

    group: str
    kind: str
    make: Any
    says: str
    commands: Sequence[str] | None = None


UNREADABLE = "unreadable|no readable header"
nan_rows = [(280 + 16 * row, "<4f", [np.nan] * 4) for row in range(3)]
zero_rows = [(280 + 16 * row, "<4f", [0.0] * 4) for row in range(3)]
spotted = body(bad.SHAPE).astype(np.float32)
spotted[3, 4, 5] = np.nan
SCANS = [
    ("missing", bad.missing, "no such file|no file|No such file"),
    ("a broken link", bad.broken_link, "no such file|no file|No such file"),
    ("a folder named as a file", bad.a_folder, f"no such file|directory|no DICOM series|{UNREADABLE}"),
    ("empty", bad.raw(b""), UNREADABLE),
    ("cut in its header", bad.cut(0.05), UNREADABLE),
    ("cut in half", bad.cut(0.5), UNREADABLE),
    ("cut in half, not compressed", bad.cut(0.5, "bad.nii"), UNREADABLE),
    ("a web page", bad.raw(bad.HTML), UNREADABLE),
    ("a Git LFS pointer", bad.raw(bad.LFS), UNREADABLE),
    ("a ZIP archive", bad.archive, UNREADABLE),
    ("text", bad.text("no scan\n" * 100, "bad.nii"), UNREADABLE),
    ("random bytes", bad.raw(np.random.default_rng(0).bytes(5000), "bad.nii"), UNREADABLE),
    (
        "sides of 30,000 voxels in the header",
        bad.header((40, "<8h", [3, *[30000] * 3, 1, 1, 1, 1])),
        f"{UNREADABLE}|shape",
    ),
    ("a negative side in the header", bad.header((40, "<8h", [3, 16, -16, 16, 1, 1, 1, 1])), ""),
    ("an unknown type of voxels", bad.header((70, "<2h", [9999, 16])), UNREADABLE),
    ("an affine of zeros", bad.header((254, "<h", [1]), *zero_rows), "affine|orientation|readable|corners"),
    ("RGB voxels", bad.rgb, "one number each|scalar"),
    ("four-dimensional", bad.nifti(np.zeros((8, 8, 8, 3), np.float32)), "one 3D volume"),
    ("a header without its raw file", bad.text(bad.META.format("MET_SHORT", "gone.raw"), "bad.mhd"), UNREADABLE),
    (
        "an unknown element type",
        bad.text(bad.META.format("MET_ODD", "LOCAL") + "0" * 9000, "bad.mha"),
        f"{UNREADABLE}|of type",
    ),
    ("MetaImage without voxels", bad.text(bad.META.format("MET_SHORT", "LOCAL"), "bad.mha"), UNREADABLE),
    ("NRRD without voxels", bad.text(bad.NRRD.format("short", 3, "16 16 16", ""), "bad.nrrd"), UNREADABLE),
    ("NRRD that is text", bad.text("NRRD0004\nno header\n", "bad.nrrd"), UNREADABLE),
]
OTHERS = [
    ("one slice", bad.nifti(body((16, 16, 2))[..., :1]), r"3D volume|2D image|expected \(16, 16, 1\)"),
    ("NaN in the affine", bad.header((254, "<h", [1]), *nan_rows), "affine|orientation|readable|corners"),
    ("constant", bad.nifti(np.zeros(bad.SHAPE, np.int16)), "constant", None),
    ("NaN in a voxel", bad.nifti(spotted), "NaN", None),
]
ones = np.pad(np.ones((8, 8, 8)), 4)
MASKS = [
    ("missing", bad.missing, "no such file|no file|No such file", None),
    ("cut in half", bad.cut(0.5), UNREADABLE, None),
    ("of another shape", bad.nifti(np.ones((16, 16, 15), np.uint8)), r"shape \(16, 16, 15\), expected", "grid"),
    ("at another place", bad.nifti(ones.astype(np.uint8), np.diag([3.0, 3, 3, 1])), "corners lie up to", "grid"),
    ("a value that is not whole", bad.nifti((ones * 0.5).astype(np.float32)), "not only whole|label value 0.5", None),
    ("a negative value", bad.nifti((ones * -1).astype(np.int16)), "label value -1", "grid"),
    ("NaN", bad.nifti((ones * np.nan).astype(np.float32)), "nan|not only whole", None),
    ("empty everywhere", bad.nifti(np.zeros(bad.SHAPE, np.uint8)), "foreground|empty", ("train", "doctor")),
]
ON_GRID = ("train", "evaluate", "doctor")
TASK_LISTS = ("train", "doctor")
READERS = ("evaluate", "inference")
LISTS = [
    ("missing", bad.missing, "cannot read", None),
    ("not JSON", bad.text("training: []", "bad.json"), "cannot read", None),
    ("not UTF-8", bad.raw('{"name": "é"}'.encode("latin-1"), "bad.json"), "cannot read", None),
    ("a list", bad.text("[]", "bad.json"), "holds list, expected a mapping", None),
    ("null", bad.text("null", "bad.json"), "holds NoneType, expected a mapping", None),
    ("without any list", bad.listed(lambda content: {"name": "x"}), "no list|has no", None),
    (
        "an empty list",
        bad.listed(lambda content: content | {"training": [], "test": []}),
        "has no '",
        (*TASK_LISTS, *READERS),
    ),
    (
        "a list that is a number",
        bad.listed(lambda content: content | {"training": 5, "test": 5}),
        "is not a list",
        None,
    ),
    ("an entry that is text", bad.listed(lambda content: {k: ["a.nii"] for k in content}), "expected a mapping", None),
    ("an entry without an image", bad.listed(lambda c: {k: [{"label": "a"}] for k in c}), "has no 'image'", None),
    ("an image that is a list", bad.entry(image=["a.nii"]), "image is .*expected a path", READERS),
    ("an entry without a label", bad.entry("training", label=None), "has no 'label'", TASK_LISTS),
    ("a label that is a number", bad.entry("training", label=1), "expected the path of a mask", TASK_LISTS),
    ("a case twice", bad.entry("training", case="1"), "'1' occurs twice", ("prepare", *TASK_LISTS)),
    ("a case in two lists", bad.entry("training", case="2"), "'2'", ("prepare", "doctor")),
    ("an unknown modality", bad.entry("training", modality="pet"), "unknown modality 'pet'", ("prepare",)),
    (
        "two results in one file",
        bad.listed(lambda c: c["test"].append({**c["test"][0], "case": "x"})),
        "written over",
        ("inference",),
    ),
]
CANDIDATES = [
    ("of a datalist, not a list", bad.entry(candidates="all"), "expected a list of", ("inference",)),
    ("of a datalist, without a position", bad.entry(candidates=[[1, 2]]), "expected a list of", ("inference",)),
    ("of a datalist, infinite", bad.entry(candidates=[[1, 2, math.inf]]), "expected a list of", ("inference",)),
    ("missing", bad.missing, "no file", None),
    ("without a column", bad.text("seriesuid,coordX\na,1\n", "bad.csv"), "lacks the column 'coordY'", None),
    ("without a row", bad.text("seriesuid,coordX,coordY,coordZ\n", "bad.csv"), "has no candidate", None),
    (
        "a position that is text",
        bad.text("seriesuid,coordX,coordY,coordZ\na,1,2,c\n", "bad.csv"),
        "coordZ is 'c'",
        None,
    ),
    (
        "an infinite position",
        bad.text("seriesuid,coordX,coordY,coordZ\na,1,2,inf\n", "bad.csv"),
        "coordZ is 'inf'",
        None,
    ),
    ("of no scan", bad.text("seriesuid,coordX,coordY,coordZ\nb,1,2,3\n", "bad.csv"), "scan", None),
]
READ = ("train", "evaluate", "doctor")
STORES = [
    ("missing", lambda folder: folder / "STORE", "run prepare.json first", READ),
    ("store.json is not JSON", bad.store(lambda content, file: "{"), "not valid JSON", None),
    ("not finished", bad.store(lambda content, file: content.pop("splits") and None), "has not ended", READ),
    (
        "of another modality",
        bad.store(
            lambda content, file: [c.update(modality="mri") for s in content["splits"].values() for c in s] and None
        ),
        "no case of 'ct'",
        READ,
    ),
    (
        "a case's file is missing",
        bad.store(lambda content, file: file.unlink()),
        "run prepare.json again",
        ("train", "doctor"),
    ),
    (
        "a case's file is cut",
        bad.store(lambda content, file: file.write_bytes(file.read_bytes()[:300]) and None),
        "delete it and run prepare.json again",
        ("train",),
    ),
    (
        "a case of another recipe",
        bad.store(lambda content, file: None, recipe="other"),
        "another recipe",
        ("train", "evaluate"),
    ),
    (
        "made by another recipe",
        bad.store(lambda content, file: content["recipe"].update(seed=7)),
        "recipe",
        ("train", "evaluate", "prepare"),
    ),
    (
        "cubes of another shape",
        bad.store(lambda content, file: content["recipe"].update(patch_size=[16, 16, 16])),
        "recipe|patch_size",
        ("train", "evaluate", "prepare"),
    ),
]
LOADED = ("train", "evaluate", "inference")
WEIGHTS = [
    ("missing", lambda folder: folder / "bad.pt", "no file", None),
    ("a web page", bad.raw(bad.HTML, "bad.pt"), "is a web page", None),
    ("a Git LFS pointer", bad.raw(bad.LFS, "bad.pt"), "is a Git LFS pointer", None),
    ("empty", bad.raw(b"", "bad.pt"), "unreadable", None),
    ("random bytes", bad.raw(b"\x80\x02" * 500, "bad.pt"), "unreadable", None),
    ("safetensors, cut", bad.raw(b"\x90\x00\x00\x00\x00\x00\x00\x00{}", "bad.safetensors"), "unreadable", None),
    ("a list of tensors", bad.weights(lambda state: list(state.values())), "holds .*, expected", None),
    ("with code", bad.weights(lambda state: {"a": Path("made by a call")}), "holds code|unreadable", None),
    ("with NaN", bad.weights(bad.with_nan), "not finite", LOADED),
    (
        "other widths",
        bad.weights(lambda state: state.update({k: torch.cat([v, v]) for k, v in state.items() if v.ndim})),
        "features",
        LOADED,
    ),
    ("of another network", bad.weights(lambda state: {"a": torch.ones(2)}), "fits|features|covers", LOADED),
    ("the provenance of others", bad.other_provenance, "not those of its provenance", LOADED),
]
SETTINGS: list[tuple[str, Any]] = [
    ("epochs", 0),
    ("epochs", 1.5),
    ("epochs", "ten"),
    ("seed", -1),
    ("batch_size", 0),
    ("num_workers", -2),
    ("val_interval", 0),
    ("learning_rate", -0.1),
    ("learning_rate", 0),
    ("features", "32"),
    ("features", [8, 16.5]),
    ("patch_size", [64, 64]),
    ("patch_size", [64, 64, 30]),
    ("spacing", [1, 1]),
    ("spacing", [1, 1, 0]),
    ("intensity_range", [100, -100]),
    ("intensity_scale", "minmax"),
    ("overlap", 1),
    ("cache_rate", 2),
    ("threshold", -0.5),
    ("amp", "perhaps"),
    ("resume", "yes please"),
    ("label_values", {"foreground": []}),
]


def _setting(key: str, value: Any) -> Bad:
    full = {"features": [8, 16, 32, 64], key: value}
    return Bad("setting", f"`{key} {value}`", lambda folder: full, rf"^{key}: ")


TABLE = [
    *(Bad("scan", kind, make, says) for kind, make, says in SCANS),
    *(Bad("scan", *row) for row in OTHERS),
    *(Bad("mask", kind, make, says, ON_GRID if who == "grid" else who) for kind, make, says, who in MASKS),
    *(Bad("datalist", kind, make, says, commands) for kind, make, says, commands in LISTS),
    *(Bad("candidates", kind, make, says, commands) for kind, make, says, commands in CANDIDATES),
    *(Bad("store", kind, make, says, commands) for kind, make, says, commands in STORES),
    *(Bad("weights", kind, make, says, commands) for kind, make, says, commands in WEIGHTS),
    *(_setting(key, value) for key, value in SETTINGS),
]
WAYS["setting"] = {"train, evaluate and inference": lambda made, folder: line_of(lambda: check_settings(made))}


def commands_of(row: Bad) -> list[str]:
    """Return the commands that take a kind."""
    return list(row.commands or WAYS[row.group])


def named(row: Bad) -> str:
    """Name the commands that take a kind, as the page does."""
    return "all" if len(commands_of(row)) == len(WAYS[row.group]) else ", ".join(commands_of(row))


def said(row: Bad, command: str, folder: Path) -> str | None:
    """Return what a command says of a kind."""
    return WAYS[row.group][command](row.make(folder), folder)


def _cells(row: Bad) -> str:
    with tempfile.TemporaryDirectory() as name:
        line = said(row, commands_of(row)[0], Path(name)) or ""
    line = line.replace(f"{name}/", "").replace(name, "STORE")
    if row.group != "store":  # what a library says
        line = re.sub(r"(unreadable(?: or truncated)?|no readable header|cannot read \S+) \(.*\)(?=:)", r"\1 (…)", line)
    return CELL.format(row.kind, named(row), line.replace("|", "\\|"))


def page(text: str) -> str:
    """Return the page with its tables made anew, each between its two markers."""
    for group in WAYS:
        rows = "\n".join(_cells(row) for row in TABLE if row.group == group)
        all_of = f"All: {', '.join(WAYS[group])}.\n\n"
        table = f"{all_of}{CELL.format('kind', 'command', 'line of the first')}\n| --- | --- | --- |\n{rows}"
        text = re.sub(
            rf"(<!-- {group} -->\n).*?(\n<!-- end -->)",
            lambda found, table=table: found[1] + table + found[2],
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE}: {len(TABLE)} kinds", file=sys.stderr)
