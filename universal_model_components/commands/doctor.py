# SPDX-License-Identifier: Apache-2.0
"""The command `doctor`: checks a whole setup and describes the training run, without starting anything.

It reads the bundle's own JSON by MONAI's `ConfigParser`, with the same overrides as a run; the network decides how the
data are checked.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from monai.bundle import ConfigParser
from torch import nn

from ..imaging.reading import read_header
from ..imaging.resampling import resampled_shape
from ..tasks.checks import check_datalist
from ..tasks.classification_checks import check_candidates
from ..tasks.findings import ERROR, FINE, WARNING, Finding
from ..tasks.segmentation_data import read_cases
from ..tasks.settings import check_settings
from ..utils.settings import to_bool, to_optional
from ..weights.continuation import continue_pretraining
from ..weights.coverage import percent
from ..weights.loading import load_pretrained
from .bundle_files import read_configs
from .machine import BYTES_A_PARAMETER, LOGS, check_device, check_disk, check_memory, check_packages, network_bytes
from .pretraining_checks import check_folder, check_store
from .surviving import reason_of, survive

PRETRAINING, SEGMENTATION = "UniversalModel", "SegmentationModel"


def doctor(
    bundle: str,
    dataset_dir: str | None = None,
    datalist: str | None = None,
    pretrained_weights: str | None = None,
    voxels: bool = True,
    **settings: Any,
) -> None:
    """Check a setup (bundle, data, weights, disk, memory, device), and describe the training run.

    One line per finding: `error` would stop training, `warning` would not, `ok` is as expected.

    Args:
        bundle: folder of a bundle.
        dataset_dir: folder of the data, as for training.
        datalist: JSON, as for training.
        pretrained_weights: file, as for training.
        voxels: read every scan and mask (false: only their headers, which training checks first, too).
        settings: any other top-level key of the bundle's configs, as for training: --bundle_root, --features, …

    Raises:
        SystemExit: with exit code 1 when there is an error.
    """
    given = {"dataset_dir": dataset_dir, "datalist": datalist, "pretrained_weights": pretrained_weights}
    settings |= {key: value for key, value in given.items() if value is not None}
    findings = []
    for finding in examine(bundle, settings, to_bool(voxels, "voxels")):
        print(finding, flush=True)
        findings.append(finding)
    errors, warnings = (sum(finding.level == level for finding in findings) for level in (ERROR, WARNING))
    print(f"doctor: {errors} errors, {warnings} warnings: training would {'stop' if errors else 'run'}")
    if errors:
        raise SystemExit(1)


def examine(bundle: str | Path, settings: Mapping[str, Any], voxels: bool = True) -> Iterator[Finding]:
    """Yield the findings that `doctor` prints; the plan comes last, and only without errors."""
    folder = Path(bundle)
    contents, findings = read_configs(folder)
    yield from findings
    if "train" not in contents:
        return
    parser, network = ConfigParser(), list[nn.Module]()
    for what, check in {
        "metadata.json": check_packages(contents.get("metadata", {})),
        "train.json": _read(parser, contents["train"], {"bundle_root": str(folder), **settings}),
        "settings": _check_settings(parser, contents, settings, network),
        "data": _check_data(parser, voxels),
        "candidates": _check_candidates(parser, settings),
        "pretrained_weights": _check_weights(parser, network),
        "machine": _check_machine(parser, network),
    }.items():
        for finding in survive(what, check):
            findings.append(finding)
            yield finding
    if not any(finding.level == ERROR for finding in findings):
        yield from survive("plan", _plan(parser, network[0]))


def _read(parser: ConfigParser, content: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Give the parser train.json and those settings whose keys it has."""
    parser.read_config(dict(content))
    parser.update({key: value for key, value in settings.items() if _has(parser, key.split("::")[0])})
    yield from ()


def _check_settings(
    parser: ConfigParser, contents: Mapping[str, Any], settings: Mapping[str, Any], network: list[nn.Module]
) -> Iterator[Finding]:
    """Check keys and values, and append the network that they define to `network`."""
    known = {key.removeprefix("+").split("::")[0] for content in contents.values() for key in content}
    for key in settings:
        if key != "bundle_root" and key.split("::")[0] not in known:
            yield Finding(ERROR, f"{key}: no config of the bundle has this key: see its README for the right name")
    try:
        check_settings(*map(parser.get_parsed_content, ("settings", "checked")))
    except Exception as error:  # MONAI wraps errors from reading the weights' recipe
        yield Finding(ERROR, reason_of(error))
        parser["follow_pretraining"] = False  # the other checks look at the run's own settings
        return
    epochs, interval = parser.get_parsed_content("epochs"), parser.get_parsed_content("val_interval")
    if interval > epochs:
        yield Finding(ERROR, f"val_interval: {interval} is more than the {epochs} epochs: no model would be written")
    try:
        if (size := network_bytes(parser)) > (free := psutil.virtual_memory().available):
            text = f"network_def: {size / 1e9:.0f} GB of parameters, {free / 1e9:.1f} GB of memory available"
            yield Finding(ERROR, f"{text}: give smaller features")
            return
        network.append(parser.get_parsed_content("network_def"))
    except Exception as error:  # MONAI wraps all errors of constructors
        yield Finding(ERROR, f"network_def: {reason_of(error)}")


def _check_candidates(parser: ConfigParser, settings: Mapping[str, Any]) -> Iterator[Finding]:
    if "candidates" in settings:
        yield from check_candidates(settings["candidates"], parser.get_parsed_content("dataset_dir"))


def _check_data(parser: ConfigParser, voxels: bool) -> Iterator[Finding]:
    root, kind = str(parser.get_parsed_content("dataset_dir")), _kind(parser)
    if kind == PRETRAINING:
        modalities = parser.get_parsed_content("modalities")
        yield from check_store(parser.get_parsed_content("cube_store"), modalities)
        if Path(root).is_dir():  # training needs only the cubes
            yield from check_folder(root, modalities)
        return
    if not Path(root).is_dir():
        yield Finding(ERROR, f"dataset_dir: {root} is not a folder: give the one that the datalist's paths start from")
        return
    try:
        yield from check_datalist(
            parser.get_parsed_content("datalist"),
            root,
            segmentation=kind == SEGMENTATION,
            label_values=parser.get_parsed_content("label_values") if _has(parser, "label_values") else None,
            intensity_range=parser.get_parsed_content("settings::intensity_range"),
            intensity_scale=parser.get_parsed_content("settings::intensity_scale"),
            voxels=voxels,
        )
    except ValueError as error:  # a setting, such as label_values
        yield Finding(ERROR, str(error))


def _check_weights(parser: ConfigParser, network: list[nn.Module]) -> Iterator[Finding]:
    """Load the weights into a network that is not trained."""
    if not _has(parser, "pretrained_weights") or not network:
        return
    source = to_optional(parser.get_parsed_content("pretrained_weights"))
    if source is None:
        yield Finding(FINE, "pretrained_weights: none given, the network would start from scratch")
        return
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if _kind(parser) == PRETRAINING:
                yield _check_ancestor(parser, network[0], source)
                return
            asked, transfer = (parser.get_parsed_content(key) for key in ("minimum_coverage", "transfer"))
            coverage = load_pretrained(network[0], source, asked, transfer=transfer)
    except (OSError, ValueError) as error:
        yield Finding(ERROR, str(error))
        return
    assert coverage is not None
    shares = [f"{part.name} {percent(part.share)}" for part in coverage.parts.values() if part.share is not None]
    yield Finding(FINE, f"pretrained_weights: {source} fills {', '.join(shares)} of the network")


def _check_ancestor(parser: ConfigParser, network: nn.Module, source: Any) -> Finding:
    modalities, ckpt_dir = (parser.get_parsed_content(key) for key in ("modalities", "ckpt_dir"))
    ancestor = continue_pretraining(network, source, modalities, ckpt_dir=ckpt_dir)
    assert ancestor is not None
    new = ", ".join(ancestor["new"]) or "nothing"
    return Finding(FINE, f"pretrained_weights: {source} fills {', '.join(ancestor['loaded'])}; anew: {new}")


def _check_machine(parser: ConfigParser, network: list[nn.Module]) -> Iterator[Finding]:
    yield check_device(parser.get_parsed_content("device"), parser.get_parsed_content("settings::features"))
    parameters = sum(tensor.numel() for part in network for tensor in part.parameters())
    yield check_disk(parser.get_parsed_content("ckpt_dir"), BYTES_A_PARAMETER * parameters, "ckpt_dir")
    yield check_disk(parser.get_parsed_content("output_dir"), LOGS, "output_dir")
    voxels = _voxels(parser) if _has(parser, "cache_rate") or _has(parser, "cache_dir") else 0.0
    if voxels and _has(parser, "cache_rate"):  # image and label in float32
        needed = 8 * voxels * float(parser.get_parsed_content("cache_rate"))
        yield check_memory(needed, "the cache of normalized cases", "give a smaller cache_rate")
    if voxels and _has(parser, "cache_dir"):  # two bytes a voxel, before compression
        yield check_disk(parser.get_parsed_content("cache_dir"), 2 * voxels, "cache_dir")
    checkpoint = Path(parser.get_parsed_content("ckpt_dir")) / "checkpoint.pt"
    resume = to_bool(parser.get_parsed_content("resume"), "resume")
    if checkpoint.is_file() != resume:
        found = "not there, training would start from scratch" if resume else "there already, it would be replaced"
        yield Finding(WARNING, f"resume: {str(resume).lower()}, {checkpoint}: {found}")


def _voxels(parser: ConfigParser) -> float:
    """Count the voxels of all training and validation scans at the spacing of the network; 0 when that is unknown."""
    spacing, total = to_optional(parser.get_parsed_content("settings::spacing")), 0.0
    places = parser.get_parsed_content("datalist"), parser.get_parsed_content("dataset_dir")
    with contextlib.suppress(ValueError):  # named by `_check_data`
        for split in ("training", "validation"):
            for case in read_cases(*places, split, keys=("image",)):
                shape, source = read_header(case["image"])
                total += math.prod(resampled_shape(shape, source, source if spacing is None else spacing))
    return total


def _plan(parser: ConfigParser, network: nn.Module) -> Iterator[Finding]:
    """Describe the training run; the datasets are created, but nothing is read into a cache."""
    if _has(parser, "cache_rate"):
        parser["cache_rate"] = 0.0
    try:
        training, validation = (parser.get_parsed_content(f"{part}::dataset") for part in ("train", "validate"))
        steps = len(parser.get_parsed_content("train::sampler"))
    except Exception as error:
        yield Finding(ERROR, f"train: {reason_of(error)}")
        return
    epochs, batch = map(parser.get_parsed_content, ("epochs", "batch_size"))
    yield Finding(
        FINE,
        f"plan: {len(training.data)} training cases ({len(training)} samples), {len(validation.data)} validation cases "
        f"({len(validation)}); {steps} steps of {batch} an epoch, {epochs} epochs, {steps * epochs} steps in all; "
        f"{sum(tensor.numel() for tensor in network.parameters()) / 1e6:.2f} million parameters",
    )


def _has(parser: ConfigParser, key: str) -> bool:
    return key in dict(parser.config or {})  # type: ignore[arg-type]


def _kind(parser: ConfigParser) -> str:
    return str(parser["network_def"]["_target_"]).rsplit(".", 1)[-1]
