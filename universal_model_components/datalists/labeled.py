# SPDX-License-Identifier: Apache-2.0
"""A user's labeled scans: folders `imagesTr` and `labelsTr` (Decathlon, nnU-Net), or a CSV of images and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..imaging.dicom import origin_of
from ..imaging.errors import ScanError
from ..imaging.scan_files import find_scans, name_other_images, stem
from ..utils.tables import read_table
from .making import Case

KINDS = {"ct": r"\bCT\b", "mri": r"\bMRI?\b|\bT1|\bT2|FLAIR|ADC|DWI|\bPD"}
CHANNEL = re.compile(r"(.+)_(\d{4})")
GROUP_NAMES = ("group", "patient", "patient_id", "subject", "subject_id")


def read_modality(root: Path, given: str | None, modalities: Sequence[str]) -> str:
    """Return the modality of a folder's scans: as given, or as dataset.json names its first channel.

    Raises:
        ValueError: when neither gives it.
    """
    if given is not None:
        if given not in modalities:
            raise ValueError(f"modality: {given!r} is not one of {list(modalities)}: name one, or extend modalities")
        return given
    try:
        about = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        named = str((about.get("channel_names") or about.get("modality"))["0"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        named = ""
    kinds = [kind for kind, pattern in KINDS.items() if re.search(pattern, named, re.IGNORECASE)]
    if len(kinds) != 1:
        raise ValueError(f"modality: not given by a dataset.json in {root}: give --modality ct or mri")
    return kinds[0]


def find_pairs(root: Path, part: str, modality: str, channel: int | None) -> tuple[list[Case], list[str]]:
    """Pair `images<part>` with `labels<part>` by name; an image may carry nnU-Net's channel, `name_0000`.

    Args:
        root: folder that holds both.
        part: "Tr" or "Ts".
        modality: of all images.
        channel: to use where there are images of several channels.

    Returns:
        The cases, and one line for each image or label without its partner, and for other formats.

    Raises:
        ValueError: when there are several channels and none is chosen.
    """
    images, labels = _by_name(root / f"images{part}"), _by_name(root / f"labels{part}")
    cases, problems = [], name_other_images(root / f"images{part}") + name_other_images(root / f"labels{part}")
    channels: dict[str, list[str]] = {}
    for name in images:
        match = CHANNEL.fullmatch(name)
        base, number = (match[1], match[2]) if match and name not in labels else (name, "")
        channels.setdefault(base, []).append(number)
    for base, numbers in channels.items():
        wanted = f"{int(channel):04d}" if channel is not None and numbers != [""] else numbers[0]
        if channel is None and len(numbers) > 1:
            raise ValueError(f"channel: {base} has {', '.join(sorted(numbers))}: choose one, for example --channel 0")
        name = f"{base}_{wanted}" if wanted else base
        if name not in images:
            problems.append(f"{root}/images{part}/{name}: no such channel: {base} skipped")
        elif base not in labels:
            problems.append(f"{images[name]}: no label {base} in labels{part}: skipped")
        else:
            paths = [file.relative_to(root).as_posix() for file in (images[name], labels[base])]
            cases.append(_case(paths[0], paths[1], modality, base, _patient(images[name])))
    problems += [
        f"{labels[name]}: no image {name} in images{part}: skipped" for name in sorted(set(labels) - set(channels))
    ]
    return cases, problems


def _by_name(folder: Path) -> dict[str, Path]:
    return {stem(file.relative_to(folder).as_posix()): file for file in find_scans(folder)}


def _patient(scan: Path) -> str | None:
    """Return the patient that a DICOM series names, hashed."""
    origin = origin_of(scan)
    return origin.hashed_patient if origin else None


def _case(image: str, label: str | int, modality: str, identity: str, group: str | None = None) -> Case:
    stratum = "" if isinstance(label, str) else f"class {label}"
    case = {"image": image, "label": label, "modality": modality, "case": image, "group": group or stem(image)}
    return {**case, "id": identity, "stratum": stratum}


def find_rows(
    root: Path, table: Path, columns: Mapping[str, str | None], modality: str | None, modalities: Sequence[str]
) -> tuple[list[Case], list[str]]:
    """Read cases from a CSV.

    Args:
        root: folder that its paths are relative to.
        table: CSV with a column of images, one of labels (paths of masks, or classes 0, 1, …), and perhaps of groups
            and modalities.
        columns: names of the columns image, label and group; None is the default name.
        modality: of all images; None where the table has a column modality, or a dataset.json gives it.
        modalities: those that may occur.

    Returns:
        The cases, and one line for each row that was skipped.

    Raises:
        ValueError: when the table cannot be read, or holds both masks and classes.
    """
    names: dict[str, Sequence[str]] = {key: (columns[key] or key,) for key in ("image", "label")}
    names |= {"group": (columns["group"],) if columns["group"] else GROUP_NAMES, "modality": ("modality",)}
    optional = ("modality",) if columns["group"] else ("modality", "group")
    cases, problems = dict[str, Case](), []
    for line, row in enumerate(read_table(table, names, "table", optional), start=2):
        where = f"{table} line {line}"
        image, label = _below(root, row["image"]), _label(root, row["label"])
        kind = row.get("modality") or modality or read_modality(root, None, modalities)
        if image is None or not (root / image).exists():
            problems.append(f"{where}: no image {row['image']!r} in {root}: skipped, correct the path")
        elif label is None:
            problems.append(f"{where}: label {row['label']!r} is neither a mask in {root} nor a class 0, 1, …: skipped")
        elif kind not in modalities:
            problems.append(f"{where}: modality {kind!r} is not one of {list(modalities)}: skipped")
        elif stem(image) in cases:
            problems.append(f"{where}: {image} occurs twice: skipped, remove one")
        else:
            try:
                group = row.get("group") or _patient(root / image)
                cases[stem(image)] = _case(image, label, kind, stem(Path(image).name), group)
            except ScanError as error:
                problems.append(f"{where}: {error}: skipped")
    if len({type(case["label"]) for case in cases.values()}) > 1:
        raise ValueError(f"table: {table} holds masks and classes as labels: make a table of each")
    return list(cases.values()), problems


def _below(root: Path, path: str) -> str | None:
    """Return a path relative to the root, None where it lies elsewhere."""
    file = root / path  # an absolute path is unchanged
    return file.relative_to(root).as_posix() if path and file.is_relative_to(root) and ".." not in file.parts else None


def _label(root: Path, text: str) -> str | int | None:
    if re.fullmatch(r"\d+", text):
        return int(text)
    path = _below(root, text)
    return path if path is not None and (root / path).is_file() else None
