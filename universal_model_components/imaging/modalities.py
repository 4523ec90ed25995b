# SPDX-License-Identifier: Apache-2.0
"""How scans of a modality are prepared where a mapping does not say it: PET; the configs state CT and MRI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.settings import to_optional

# What becomes 0 and 1: the window's ends, the volume's minimum and maximum, or its percentiles; see `normalize`.
INTENSITY_SCALES = ("range", "volume", "percentiles")
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # SUV is an absolute unit, as HU is: one window for all scans. Above 20 are bladder, brain and the hottest tumors.
    "intensity_range": {"pet": [0, 20]},
    "intensity_scale": {"pet": "range"},
    "foreground_crop": {"pet": False},  # the crop's threshold would lie between tissue and uptake, not at the skin
}


def check_modalities(settings: Mapping[str, Any], modalities: Sequence[str]) -> None:
    """Check that each of several settings by modality covers all modalities.

    Args:
        settings: by key, a mapping by modality, or one value for all.
        modalities: that are needed.

    Raises:
        ValueError: when any lacks any; one line that names all of them.
    """
    covered = {k: {**DEFAULTS.get(k, {}), **value} for k, value in settings.items() if isinstance(value, Mapping)}
    for name in modalities:
        lacking = [key for key, value in covered.items() if name not in value]
        if lacking:
            found = sorted(set.intersection(*(set(covered[key]) for key in lacking)))
            example = " ".join(f"--{key}::{name} VALUE" for key in lacking)
            raise ValueError(f"{', '.join(lacking)}: no entry for modality {name!r} (found {found}): add {example}")


def of_modalities(value: Any, modalities: Sequence[str], key: str) -> dict[str, Any]:
    """Expand a setting to one value for each modality, from `DEFAULTS` where its mapping has none.

    Args:
        value: a mapping by modality, or one value for all.
        modalities: names, in the order of their labels.
        key: name of the setting.

    Raises:
        ValueError: when neither has a value; as `check_modalities`.
    """
    check_modalities({key: value}, modalities)
    values = {**DEFAULTS.get(key, {}), **value} if isinstance(value, Mapping) else dict.fromkeys(modalities, value)
    return {name: to_optional(values[name]) for name in modalities}
