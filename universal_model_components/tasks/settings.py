# SPDX-License-Identifier: Apache-2.0
"""Settings of a run, checked before they are used: MONAI's parser would bury an error under long tracebacks.

`CHECKS` has the check of every key that users set, in any config of any bundle; absent keys are not checked. What
several keys must fulfill together is in functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..imaging.labels import Labels
from ..imaging.modalities import INTENSITY_SCALES, check_modalities
from ..utils.checks import (
    Check,
    boolean,
    check_values,
    choice,
    device,
    each,
    either,
    entries,
    is_list,
    is_number,
    is_whole,
    number,
    one_or_each,
    optional,
    path,
    root,
    share,
    text,
    whole,
)
from ..utils.settings import to_bool, to_optional
from .label_noise import read_severity

BOOLEANS = (
    *("amp", "resume", "batch_statistics", "largest_component", "overlays", "strict", "compile"),
    *("mial", "scale_classifier", "freeze_normalization", "channels_last", "dilated", "reduce_on_plateau"),
    *("plan", "antialias", "follow_pretraining"),
)
CHOICES = {
    "schedule": ("constant", "warmup", "sawtooth"),
    "transfer": ("encoder", "encoder+decoder"),
    "loaded_statistics": ("kept", "reestimated"),
    "epoch_of": ("largest", "smallest"),
    "amp_dtype": ("bfloat16", "float16"),
    "split": ("training", "validation", "test"),
}
WHOLE = {  # smallest valid values
    **dict.fromkeys(("epochs", "val_interval", "batch_size", "cubes_per_case", "accumulation_steps", "air_tries"), 1),
    **dict.fromkeys(("width", "stem_channels", "world_size"), 1),
    **dict.fromkeys(("seed", "num_workers", "warmup_steps", "checkpoint_interval", "rank", "bootstrap"), 0),
    **dict.fromkeys(("image_interval", "panel_interval", "probe_interval", "probe_cubes", "panel_cubes"), 0),
    **dict.fromkeys(("early_stopping_patience", "alarm_patience", "probe_patience"), 0),
    "num_classes": 2,
}
FOLDERS = ("output_dir", "ckpt_dir", "cube_store", "cache_dir")
FILES = ("pretrained_weights", "candidates", "groups", "onnx_file")
PARTS = ("unet", "scale_classifier", "discriminator", "classifier")  # that have a rate in pre-training
AUGMENTATION = {"flip": share(), "transpose": share(), "noise": share(), "noise_std": number()}


def _window(value: Any) -> str | None:
    window = to_optional(value)
    good = window is None or (is_list(window) and len(window) == 2 and all(map(is_number, window)))
    return None if good and (window is None or window[0] < window[1]) else "is neither [low, high] nor null"


def _sides(value: Any) -> str | None:
    good = is_list(value) and len(value) == 3 and all(is_number(side) and side > 0 for side in value)
    return None if good else 'is not three positive numbers: give mm such as "[1,1,1]"'


def _patch(value: Any) -> str | None:
    good = is_list(value) and len(value) == 3 and all(is_whole(side) and side > 0 for side in value)
    return None if good else "is not three whole numbers of voxels"


def _widths(value: Any) -> str | None:
    good = is_list(value) and len(value) > 0 and all(is_whole(width) and width > 0 for width in value)
    return None if good else 'are not whole numbers: give widths such as "[8,16,32,64]"'


def _rate(value: Any) -> str | None:
    rates = list(value.values()) if isinstance(value, Mapping) else [value]  # of parts
    good = all(is_number(rate) and rate >= 0 for rate in rates) and any(rates)
    return None if good else "is not a number above 0"


def _read(reader: Any) -> Check:
    """Return a check for what a reader of the setting takes; the reader's own line begins with the key."""

    def check(value: Any) -> str | None:
        reader(value)
        return None

    return check


CHECKS: dict[str, Check] = {
    "bundle_root": root,
    "dataset_dir": optional(path),
    "datalist": optional(either(path, each(path, "files"))),
    **dict.fromkeys(FOLDERS, path),
    **dict.fromkeys(FILES, optional(path)),
    **dict.fromkeys(BOOLEANS, boolean),
    **{key: choice(*choices) for key, choices in CHOICES.items() if key != "schedule"},
    **{key: whole(least) for key, least in WHOLE.items()},
    **dict.fromkeys(
        ("foreground_share", "unchanged_weight", "mean_weight", "reversal_ramp", "cache_rate", "threshold"), share()
    ),
    **dict.fromkeys(("air_threshold", "validation_fraction", "overlap"), share(one=False)),
    "air_share": optional(share()),
    **dict.fromkeys(("label_fraction", "flat_share"), share(zero=False)),
    **dict.fromkeys(("alpha", "beta", "reversal", "gradient_clip", "minimum_crop"), number()),
    "validation_negatives": optional(number(0, above=True)),
    "device": device,
    "learning_rate": _rate,
    "features": _widths,
    "modalities": each(text, "names", unique=True),
    **dict.fromkeys(("modality", "scheduler"), optional(text)),
    **dict.fromkeys(("task", "system", "pretext"), text),
    "class_names": each(text, "names"),
    "patch_size": optional(_patch),
    "spacing": optional(_sides),
    "intensity_range": one_or_each(_window),
    "intensity_scale": one_or_each(choice(*INTENSITY_SCALES)),
    "foreground_crop": one_or_each(boolean),
    "label_values": _read(Labels),
    "label_noise": _read(read_severity),
    "minimum_coverage": one_or_each(share()),
    "augmentation": entries(AUGMENTATION),
    "probe_data": entries({"datalist": optional(path), "dataset_dir": optional(path), "modality": text}),
    "cubes_per_volume": entries({"large": whole(), "medium": whole(), "small": whole()}),
    "set_factor": lambda value: None if value == {} else one_or_each(whole(1))(value),
}


def check_settings(*settings: Mapping[str, Any]) -> None:
    """Check the values of top-level keys, as the command line gives them.

    Args:
        settings: key → value, in one mapping or several.

    Raises:
        ValueError: for the first invalid one; one line, with the key.
    """
    given = {key: value for part in settings for key, value in part.items()}
    check_values(given, CHECKS)
    if "transfer" in given:  # of a target task's training: pre-training has rates and a schedule of its own
        _check_fine_tuning(given)
    elif "alpha" in given:
        _check_pretraining(given)
    if "validation_fraction" not in given and to_optional(given.get("dataset_dir", ".")) is None:
        raise ValueError("dataset_dir: null is for prepare, with datalists that have a root: give the folder of scans")
    _check_grid(given)
    _check_modalities(given)


def _check_fine_tuning(settings: Mapping[str, Any]) -> None:
    problem = choice(*CHOICES["schedule"])(settings.get("schedule", "constant"))
    if problem:
        raise ValueError(f"schedule: {settings['schedule']!r} {problem}")
    if "patch_size" in settings and to_optional(settings["patch_size"]) is None:
        raise ValueError("patch_size: null is for inference: give three whole numbers of voxels")
    reestimated = settings.get("loaded_statistics") == "reestimated"
    if reestimated and to_bool(settings.get("batch_statistics", False), "batch_statistics"):
        raise ValueError("loaded_statistics: 'reestimated' needs running statistics: give batch_statistics false")
    rate = settings.get("learning_rate")
    if isinstance(rate, Mapping) and set(rate) != {"loaded", "new"}:
        raise ValueError(f"learning_rate: {rate!r} is neither a number nor one for each of 'loaded' and 'new'")
    shares = settings.get("schedule_shares", {"head": 0, "warmup": 0})
    wrong = entries({"head": share(), "warmup": share()})(shares)
    if wrong or sum(shares.values()) >= 1:
        raise ValueError(
            f"schedule_shares: {shares!r} are not shares of the steps, less than 1 together: give such as "
            "\"{'head': 0.2, 'warmup': 0.1}\""
        )


def _check_pretraining(settings: Mapping[str, Any]) -> None:
    rates = settings["learning_rate"]
    heads = ("scale_classifier", "discriminator"), ("scale_classifier", "mial")
    parts = [part for part, key in zip(*heads, strict=True) if to_bool(settings[key], key)]
    needed = ["unet", *(["classifier"] if "pretext" in settings else parts)]
    if not isinstance(rates, Mapping) or set(rates) - set(PARTS) or set(needed) - set(rates):
        raise ValueError(f"learning_rate: {rates!r} is not a mapping with a rate for each of {needed}")
    if not isinstance(settings["schedule"], Mapping):
        raise ValueError(
            f"schedule: {settings['schedule']!r} is not what it describes: give warmup_steps, or modern.json"
        )
    modalities = settings.get("modalities", [])
    if "pretext" not in settings and "discriminator" in parts and len(modalities) == 1 and _trains(settings):
        raise ValueError(f"mial: there is one modality, {modalities[0]!r}, to tell from no other: give mial false")
    if settings.get("probe_patience") and not settings.get("probe_interval"):
        raise ValueError("probe_patience: there is no probe to wait for: give probe_interval too, or 0")


def _trains(settings: Mapping[str, Any]) -> bool:
    """Whether these are the settings of a training; an evaluation has them too, and a split."""
    return "split" not in settings and ("transfer" in settings or "alpha" in settings)


def _check_grid(settings: Mapping[str, Any]) -> None:
    features, sides = settings.get("features", [1]), to_optional(settings.get("patch_size"))
    unet = "features" in settings and "system" not in settings
    if unet and (len(features) < 2 or any(width % 2 for width in features)):
        raise ValueError(f"features: {features!r} are not two or more even numbers of channels, finest level first")
    divisor = 2 ** (len(features) - 1)
    if sides is not None and any(side % divisor for side in sides):
        raise ValueError(f"patch_size: {sides!r} is not three whole numbers of voxels, each divisible by {divisor}")
    small = _trains(settings) and unet and sides is not None and sides[0] <= 2 * divisor and len(features) > 1
    if small and to_bool(settings.get("amp", False), "amp") and str(settings.get("device")).startswith("cpu"):
        raise ValueError(
            f"amp: PyTorch's bfloat16 gradients are wrong on a CPU where a level's first side has 2 voxels, and "
            f"{sides[0]} has such a level: give amp false, or a patch_size that begins with {4 * divisor} or more"
        )


def _check_modalities(settings: Mapping[str, Any]) -> None:
    """Check that each modality has its entries, and that the one of an inference is known."""
    names, by_name = settings.get("modalities", []), ("intensity_range", "intensity_scale", "foreground_crop")
    check_modalities({key: settings[key] for key in by_name if key in settings}, names)
    modality = to_optional(settings.get("modality"))
    if names and modality is not None and modality not in names:
        raise ValueError(f"modality: {modality!r} is not one of {list(names)}")
