# SPDX-License-Identifier: Apache-2.0
"""The recipe of a store: everything that determines what a cube looks like, checked and stored with every case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..imaging.modalities import INTENSITY_SCALES, check_modalities, of_modalities
from ..utils.checks import is_list, is_number, is_whole
from ..utils.digests import digest
from ..utils.settings import to_bool, to_optional

SCALES = ("large", "medium", "small")  # the position is the label
BY_MODALITY = ("intensity_range", "intensity_scale", "foreground_crop")
NUMBERS = {
    **dict.fromkeys(("minimum_crop", "air_threshold", "air_share"), is_number),
    **dict.fromkeys(("seed", "air_tries"), is_whole),
}
RECIPE_VERSION = 1  # incremented whenever the same recipe would make different cubes


@dataclass(frozen=True)
class Recipe:
    """Everything that determines what a cube looks like; it is stored with every case.

    Args:
        seed: of the crops' positions.
        spacing: of the volume that crops are cut from, mm.
        patch_size: voxels of a cube.
        intensity_range: by modality, the window (HU for CT) or None for the volume's own range.
        intensity_scale: by modality, "range" (divide by the window), "volume" (by own minimum and maximum) or
            "percentiles" (by own percentiles 0.5 and 99.5).
        foreground_crop: by modality, whether to crop to the body first.
        minimum_crop: mm; a scale whose crop has a shorter side is skipped for that scan.
        crop_fractions: by scale, sides of a crop as a fraction of the volume's (paper: 1/2, 1/4, 1/8).
        cubes_per_volume: by scale, how many crops of one volume.
        set_factor: by set, a multiplier of these numbers (Table I: 2 for LiTS2017 and MSD heart).
        air_threshold: a voxel below this, in [0, 1], is air.
        air_share: a crop with a larger share of air is drawn again; None or 0 accepts every crop.
        air_tries: draws for each crop; when all have too much air, the one with the least is taken.
        antialias: low-pass filter crops that are downsampled.

    Raises:
        ValueError: when a value is invalid; one line, naming the key.
    """

    seed: int = 0
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    patch_size: Sequence[int] = (64, 64, 32)
    intensity_range: Mapping[str, Sequence[float] | None] = field(
        default_factory=lambda: {"ct": (-1000, 1000), "mri": (0, 4000)}
    )
    intensity_scale: Mapping[str, str] = field(default_factory=lambda: {"ct": "range", "mri": "volume"})
    foreground_crop: Mapping[str, bool] = field(default_factory=lambda: {"ct": False, "mri": True})
    minimum_crop: float = 8.0
    crop_fractions: Mapping[str, float] = field(
        default_factory=lambda: {"large": 1 / 2, "medium": 1 / 4, "small": 1 / 8}
    )
    cubes_per_volume: Mapping[str, int] = field(default_factory=lambda: {"large": 16, "medium": 16, "small": 32})
    set_factor: Mapping[str, int] = field(default_factory=lambda: {"lits2017": 2, "msd_heart": 2})
    air_threshold: float = 0.05
    air_share: float | None = 0.95
    air_tries: int = 20
    antialias: bool = True

    def __post_init__(self) -> None:
        for key, check in NUMBERS.items():
            value = getattr(self, key)
            if not check(value) and not (key == "air_share" and value is None):
                raise ValueError(f"{key}: {value!r} is not a {'whole ' if check is is_whole else ''}number")
        for key, check in (("spacing", is_number), ("patch_size", is_whole)):
            value = getattr(self, key)
            if not _are_numbers(value, 3, check) or min(value) <= 0:
                raise ValueError(f"{key}: {value!r} is not three positive numbers")
        for name, window in self.intensity_range.items():
            if window is not None and not (_are_numbers(window, 2) and window[0] < window[1]):
                raise ValueError(f"intensity_range: {window!r} of {name!r} is neither [low, high] nor null")
        for name, scale in self.intensity_scale.items():
            if scale not in INTENSITY_SCALES:
                raise ValueError(f"intensity_scale: {scale!r} of {name!r} is not one of {list(INTENSITY_SCALES)}")
        self._check_fractions()
        counts = self.cubes_per_volume
        whole = isinstance(counts, Mapping) and all(is_whole(n) and n >= 0 for n in counts.values())
        if not whole or set(counts) != set(SCALES):
            raise ValueError(f"cubes_per_volume: {counts!r} does not give a number for each of {list(SCALES)}")
        factors = self.set_factor
        if not isinstance(factors, Mapping) or not all(is_whole(n) and n > 0 for n in factors.values()):
            raise ValueError(f"set_factor: {factors!r} does not give sets whole numbers of at least 1")
        if not sum(counts.values()):
            raise ValueError("cubes_per_volume: all numbers are 0: ask for some cubes")
        if self.air_share is not None and not 0 <= self.air_share <= 1:
            raise ValueError(f"air_share: {self.air_share!r} is not within 0 and 1")
        if self.air_tries < 1:
            raise ValueError(f"air_tries: {self.air_tries!r} is less than 1")

    def _check_fractions(self) -> None:
        given = self.crop_fractions
        numbers = isinstance(given, Mapping) and set(given) == set(SCALES) and all(map(is_number, given.values()))
        if not numbers or not 1 >= given["large"] > given["medium"] > given["small"] > 0:
            raise ValueError(f"crop_fractions: {given!r} does not give {list(SCALES)} falling fractions within 0 and 1")

    def cubes_of(self, name: str) -> list[int]:
        """Return the number of crops of each of `SCALES` for a volume of the set of that name."""
        return [self.cubes_per_volume[scale] * self.set_factor.get(name, 1) for scale in SCALES]

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe and its version as plain JSON values."""
        return json.loads(json.dumps({"version": RECIPE_VERSION, **asdict(self)}, sort_keys=True))


def _are_numbers(value: Any, count: int, check: Callable[[Any], bool] = is_number) -> bool:
    return is_list(value) and len(value) == count and all(map(check, value))


def recipe_id(recipe: Mapping[str, Any]) -> str:
    """Return a short name of a recipe: equal recipes have equal names."""
    return digest(dict(recipe))


def make_recipe(recipe: Mapping[str, Any], modalities: Sequence[str]) -> Recipe:
    """Make a recipe from settings as the command line passes them.

    Raises:
        ValueError: when a setting is unknown, lacks a modality or is invalid.
    """
    stock = Recipe()
    settings = {**{key: getattr(stock, key) for key in BY_MODALITY}, **recipe}
    check_modalities({key: settings[key] for key in BY_MODALITY}, modalities)
    for key in BY_MODALITY:
        given = settings[key] if isinstance(settings[key], Mapping) else {}
        settings[key] = {**given, **of_modalities(settings[key], modalities, key)}
    crops = settings["foreground_crop"].items()
    settings["foreground_crop"] = {name: to_bool(crop, "foreground_crop") for name, crop in crops}
    if "antialias" in settings:
        settings["antialias"] = to_bool(settings["antialias"], "antialias")
    if "air_share" in settings:
        settings["air_share"] = to_optional(settings["air_share"])
    try:
        return Recipe(**settings)
    except TypeError as error:
        raise ValueError(f"recipe: {error}") from error
