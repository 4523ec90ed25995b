# SPDX-License-Identifier: Apache-2.0
"""How a config is laid out for readers: the order of its keys, and its lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

WIDTH = 100  # columns that a mapping or a list of plain values may take on one line
USER_KEYS = (  # the order of the keys that users set, in every config: they come first
    *("bundle_root", "dataset_dir", "datalist", "groups", "split", "candidates", "cube_store", "cache_dir"),
    *("output_dir", "ckpt_dir", "pretrained_weights", "minimum_coverage", "transfer"),
    *("loaded_statistics", "follow_pretraining", "device"),
    *("seed", "epochs", "val_interval", "batch_size", "num_workers", "scheduler", "learning_rate"),
    *("system", "width", "stem_channels", "dilated", "features", "num_classes", "modalities", "task", "modality"),
    *("mial", "scale_classifier", "batch_statistics"),
    *("patch_size", "spacing", "intensity_range", "intensity_scale", "foreground_crop", "minimum_crop"),
    *("crop_fractions", "cubes_per_volume", "set_factor", "air_threshold", "air_share", "air_tries", "antialias"),
    *("validation_fraction", "flat_share", "label_values", "label_noise", "label_fraction", "augmentation"),
    *("cubes_per_case", "foreground_share", "cache_rate", "epoch_of", "validation_negatives", "alpha", "beta"),
    *("unchanged_weight", "mean_weight", "reversal", "reversal_ramp"),
    *("accumulation_steps", "gradient_clip", "warmup_steps", "reduce_on_plateau", "schedule", "schedule_shares"),
    *("freeze_normalization", "overlap", "threshold", "largest_component", "early_stopping_patience"),
    *("checkpoint_interval", "image_interval", "panel_interval", "alarm_patience"),
    *("probe_interval", "probe_patience", "probe_data"),
    *("resume", "amp", "amp_dtype", "channels_last", "compile", "strict", "plan"),
    *("rank", "world_size"),
)
LAST = (  # after whatever an overlay adds
    *("train", "ramp", "early_stop", "alarm", "validation_alarm", "probe", "probe_stop", "recorder"),
    *("provenance", "best_model", "validate"),
    *("initialize", "run", "finalize"),
)


def settings_first(config: Mapping[str, Any]) -> dict[str, Any]:
    """Order a config for readers: imports, what users set, what is built from it, and at last what is run."""
    others = [key for key in config if key not in (*USER_KEYS, *LAST)]
    ordered = {key: config[key] for key in dict.fromkeys(["imports", *USER_KEYS, *others, *LAST]) if key in config}
    for name in ("settings", "checked"):
        if name in config:
            ordered[name] = {key: config[name][key] for key in sorted(config[name], key=_place)}
    return ordered


def _place(key: str) -> int:
    """Return the place of a key among those that users set; what is made of them comes after."""
    return USER_KEYS.index(key) if key in USER_KEYS else len(USER_KEYS)


def lay_out(value: Any, before: int = 0, margin: str = "") -> str:
    """Write JSON; a mapping or list of plain values, or of lists of them, is one line where it fits.

    Args:
        value: to write.
        before: columns that stand before it in its line.
        margin: of the line that it begins in.
    """
    line = json.dumps(value)
    if not isinstance(value, (dict, list)) or (_is_flat(value) and before + len(line) < WIDTH):
        return line
    inner = margin + "    "
    names = [f"{json.dumps(key)}: " for key in value] if isinstance(value, dict) else [""] * len(value)
    items = value.values() if isinstance(value, dict) else value
    lines = [inner + name + lay_out(item, len(inner + name), inner) for name, item in zip(names, items, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + "\n" + ",\n".join(lines) + f"\n{margin}{closing}"


def _is_flat(value: Any) -> bool:
    items = list(value.values()) if isinstance(value, dict) else value
    return not any(isinstance(item, dict) or (isinstance(item, list) and not _is_plain(item)) for item in items)


def _is_plain(items: list[Any]) -> bool:
    return not any(isinstance(item, (dict, list)) for item in items)
