# SPDX-License-Identifier: Apache-2.0
"""Settings of a run, checked before they are used: MONAI's parser would bury an error under long tracebacks.

Each check reads one key; absent keys are not checked, so all bundles share the checks, and so do training,
evaluation and inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..imaging.labels import Labels
from ..utils.settings import to_bool, to_optional
from .label_noise import read_severity

BOOLEANS = (
    *("amp", "resume", "batch_statistics", "largest_component", "overlays", "strict", "compile"),
    *("mial", "scale_classifier", "foreground_crop", "freeze_normalization", "channels_last", "dilated"),
)
CHOICES = {
    "schedule": ("constant", "warmup", "sawtooth"),
    "transfer": ("encoder", "encoder+decoder"),
    "loaded_statistics": ("kept", "reestimated"),
}
WHOLE = {  # smallest valid values
    "seed": 0,
    "epochs": 1,
    "val_interval": 1,
    "batch_size": 1,
    "num_workers": 0,
    "stem_channels": 1,
    "cubes_per_case": 1,
    "image_interval": 0,
    "early_stopping_patience": 0,
    "alarm_patience": 0,
    "probe_interval": 0,
    "probe_patience": 0,
}
SHARES = {
    "foreground_share": 1,
    "unchanged_weight": 1,
    "cache_rate": 1,
    "threshold": 1,
    "overlap": math.nextafter(1, 0),
}  # largest valid values


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the values of top-level keys, as the command line gives them.

    Args:
        settings: key → value.

    Raises:
        ValueError: for the first invalid one; one line, with the key.
    """
    for key in (name for name in BOOLEANS if name in settings):
        to_bool(settings[key], key)
    for key, least in WHOLE.items():
        value = settings.get(key, least)
        if not _is_number(value) or value != int(value) or value < least:
            raise ValueError(f"{key}: {value!r} is not a whole number of at least {least}")
    for key, most in SHARES.items():
        value = settings.get(key, 0)
        if not _is_number(value) or not 0 <= value <= most:
            raise ValueError(f"{key}: {value!r} is not within 0 and 1{'' if most == 1 else ', and less than 1'}")
    rate = settings.get("learning_rate", 1)
    rates = rate.values() if isinstance(rate, Mapping) else [rate]  # of the parts, in pre-training
    if not all(_is_number(one) and one >= 0 for one in rates) or not any(rates):
        raise ValueError(f"learning_rate: {rate!r} is not a number above 0")
    if "transfer" in settings:  # of a target task's training: pre-training has rates and a schedule of its own
        _check_fine_tuning(settings)
    _check_grid(settings)
    _check_intensities(settings)
    Labels(settings.get("label_values"))
    read_severity(settings.get("label_noise"))


def _check_fine_tuning(settings: Mapping[str, Any]) -> None:
    for key, choices in CHOICES.items():
        if settings.get(key, choices[0]) not in choices:
            raise ValueError(f"{key}: {settings[key]!r} is not one of {list(choices)}")
    reestimated = settings.get("loaded_statistics") == "reestimated"
    if reestimated and to_bool(settings.get("batch_statistics", False), "batch_statistics"):
        raise ValueError("loaded_statistics: 'reestimated' needs running statistics: give batch_statistics false")
    rate = settings.get("learning_rate")
    if isinstance(rate, Mapping) and set(rate) != {"loaded", "new"}:
        raise ValueError(f"learning_rate: {rate!r} is neither a number nor one for each of 'loaded' and 'new'")
    shares = settings.get("schedule_shares", {"head": 0, "warmup": 0})
    known = isinstance(shares, Mapping) and set(shares) == {"head", "warmup"}
    if not known or not all(_is_number(share) and share >= 0 for share in shares.values()) or sum(shares.values()) >= 1:
        raise ValueError(
            f"schedule_shares: {shares!r} are not shares of the steps, less than 1 together: give such as "
            "\"{'head': 0.2, 'warmup': 0.1}\""
        )


def _check_grid(settings: Mapping[str, Any]) -> None:
    features = settings.get("features", [1])
    if not _are_numbers(features, 0) or not all(width == int(width) for width in features):
        raise ValueError(f'features: {features!r} are not whole numbers: give widths such as "[8,16,32,64]"')
    spacing, sides = (to_optional(settings.get(key)) for key in ("spacing", "patch_size"))
    if spacing is not None and not (_are_numbers(spacing, 0) and len(spacing) == 3):
        raise ValueError(f'spacing: {spacing!r} is not three positive numbers: give mm such as "[1,1,1]"')
    divisor = 2 ** (len(features) - 1)
    if sides is not None and not (_are_numbers(sides, 0) and len(sides) == 3 and not any(n % divisor for n in sides)):
        raise ValueError(f"patch_size: {sides!r} is not three whole numbers of voxels, each divisible by {divisor}")


def _check_intensities(settings: Mapping[str, Any]) -> None:
    windows, scales = settings.get("intensity_range"), settings.get("intensity_scale", "volume")
    for window in map(to_optional, windows.values() if isinstance(windows, Mapping) else [windows]):
        if window is not None and not (_are_numbers(window) and len(window) == 2 and window[0] < window[1]):
            raise ValueError(f"intensity_range: {window!r} is neither [low, high] nor null")
    for scale in scales.values() if isinstance(scales, Mapping) else [scales]:
        if scale not in ("range", "volume"):
            raise ValueError(f"intensity_scale: {scale!r} is neither 'range' nor 'volume'")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(value: Any, above: float = -math.inf) -> bool:
    given = isinstance(value, Sequence) and not isinstance(value, str)
    return given and all(_is_number(item) and item > above for item in value)
