# SPDX-License-Identifier: Apache-2.0
"""The section of the report on linear probes and the live probe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import page as html
from .numbers import format_number, read_number

_PROBES = {
    "modality": "Can a linear classifier separate CT from MRI by the features? Adversarial training works against it.",
    "scale": "Can it predict how large a part of the body a cube shows? The scale classifier should make this easier.",
}


def probes(probes: Mapping[str, Any], rows: Sequence[Mapping[str, float]] = ()) -> str:
    """Accuracy of linear classifiers: foreground from voxels, modality and scale from each level."""
    if not probes:
        return _live_probe(rows) + html.paragraph("No linear probes were run on the pooled features.", soft=True)
    parts = [
        _live_probe(rows),
        html.paragraph(
            "Linear classifiers on the frozen encoder's pooled features, trained and tested on different cases, level "
            "by level: level 1 is the finest, level 4 the deepest."
        ),
    ]
    for name, probe in probes.items():
        parts.append(f"<h3>{html.text(name.capitalize())}</h3>" + html.paragraph(_PROBES.get(name, "")))
        parts.append(_probe(name, probe))
    return "".join(parts)


def _live_probe(rows: Sequence[Mapping[str, float]]) -> str:
    """The live probe's results during training, beside an untrained encoder's."""
    read = [row for row in rows if math.isfinite(row.get("probe_auc", math.nan))]
    if not read:
        return ""
    first, last, untrained = read[0]["probe_auc"], read[-1]["probe_auc"], read[-1]["probe_auc_untrained"]
    words = (
        f"Foreground of labeled scans, read voxel by voxel from the frozen features: area under the ROC curve "
        f"{format_number(last, 3)} at the end ({format_number(first, 3)} after epoch {read[0]['epoch']:.0f}), from an "
        f"untrained encoder's {format_number(untrained, 3)}."
    )
    return html.verdict(words, last > untrained)


def _probe(name: str, probe: Mapping[str, Any]) -> str:
    """One probe's accuracies, a row for each level, and the chance level."""
    if "skipped" in probe:
        return html.paragraph(f"Not run: {html.text(probe['skipped'])}.", soft=True)
    chance = read_number(probe, "chance")
    body = [
        [f"level {html.text(level)}", *(_accuracy(read_number(found, kind)) for kind in ("clean", "corrupted"))]
        for level, found in (probe.get("levels") or {}).items()
    ]
    body.append(["chance level", _accuracy(chance), _accuracy(chance)])
    metric = str(probe.get("metric", "accuracy")).capitalize()
    caption = f"{metric} of the {name} probe; chance level is {_percent(chance)}"
    return html.table(caption, ["features", "clean cubes", "corrupted cubes"], body)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "not known"


def _accuracy(value: float) -> str:
    return html.share(value) if math.isfinite(value) else "–"
