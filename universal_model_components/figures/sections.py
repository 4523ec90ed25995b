# SPDX-License-Identifier: Apache-2.0
"""The sections of the report: text, tables and pictures; each names what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import page as html
from .bars import draw_errors
from .curves import draw_losses
from .numbers import format_number, read_number

# name in the files → heading, what it does to a cube
KINDS = {
    "overall": ("All together", "The full mix that training uses."),
    "nonlinear": (
        "Non-linear intensity",
        "A random monotone curve maps the gray values; as many curves decrease as in training.",
    ),
    "shuffle": ("Local shuffling", "The voxels of thousands of small blocks are permuted within their block."),
    "inner": ("Inner painting", "A few boxes inside the cube are replaced by noise."),
    "outer": ("Outer painting", "Everything but a few windows is replaced by noise."),
    "mask": ("Masking", "Blocks are set to 0, as many as in training."),
}
BASELINES = {"corrupted": "the input", "training_mean": "the training mean"}  # need no network and no original


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def better(numbers: Mapping[str, Any]) -> bool | None:
    """Whether the restored cubes are closer to the originals than both baselines; None when it was not measured."""
    restored, *baselines = (read_number(numbers, f"{name}_mse") for name in ("restored", *BASELINES))
    if not all(map(math.isfinite, (restored, *baselines))):
        return None
    return restored < min(baselines)


def _ordered(restoration: Mapping[str, Any]) -> list[str]:
    return [k for k in KINDS if k in restoration] + [k for k in restoration if k not in KINDS]


def _name(kind: str) -> str:
    return KINDS[kind][0] if kind in KINDS else kind


def outcome(
    restoration: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    timings: Sequence,
) -> str:
    """Whether restoration worked, in a sentence, a table and bars."""
    pairs = {
        "held-out cubes": evaluation.get("cubes"),
        "held-out cases": len(evaluation.get("cases") or []),
        "epochs": len(rows),
        "all steps together": _duration(sum(t[2] for t in timings)) if timings else None,
    }
    shown = html.facts((name, value) for name, value in pairs.items() if value)
    if not restoration:
        return html.verdict("Restoration was not evaluated: no <code>evaluation.json</code> was found.", None) + shown
    kinds = _ordered(restoration)
    body = []
    for kind in kinds:
        numbers = restoration[kind]
        names = ("corrupted_mse", "training_mean_mse", "constant_mse", "restored_mse")
        cells = [format_number(read_number(numbers, name)) for name in names] + [
            format_number(read_number(numbers, "psnr"), 1)
        ]
        body.append([html.text(_name(kind)), *cells, _judgment(numbers)])
    head = ["corruption", "corrupted input", "training mean", "oracle constant", "restored", "PSNR (dB)", "outcome"]
    main = kinds.index("overall") if "overall" in kinds else None
    grid = html.table("Mean squared error on held-out cases; lower is better", head, body, range(1, 6), main)
    bars = draw_errors({_name(kind): restoration[kind] for kind in kinds})
    words = (
        "Bars: for each corruption the error of the corrupted input, of the training mean, of the oracle constant, and "
        "of the restored cube."
    )
    explain = (
        "A network that restores must beat two baselines: the <em>corrupted input</em>, which is what one has by doing "
        "nothing, and the <em>training mean</em>, the mean gray value of the training cubes of the same modality. The "
        "<em>oracle constant</em> is shown beside them: each cube's own mean gray value, taken from the original that "
        "the network never sees. Non-linear maps hide that value from the network."
    )
    return _headline(restoration) + shown + html.paragraph(explain) + grid + html.chart(bars, words, words)


def _headline(restoration: Mapping[str, Any]) -> str:
    """The outcome in plain words: the full mix first, then the kinds."""
    overall = restoration.get("overall") or {}
    names = ("restored", *BASELINES, "constant")
    restored, corrupted, training, oracle = (read_number(overall, f"{name}_mse") for name in names)
    won = better(overall)
    single = [kind for kind in _ordered(restoration) if kind != "overall"]
    good = [kind for kind in single if better(restoration[kind])]
    listing = f"It holds for {len(good)} of {len(single)} kinds of corruption taken alone."
    lost = ", ".join(html.text(_name(k).lower()) for k in single if better(restoration[k]) is False)
    listing += f" Not for: {lost}." if lost else ""
    if won is None:
        return html.verdict(f"The full mix of corruptions was not measured. {listing}", None)
    error = f"On held-out cases the restored error is {format_number(restored)}"
    baselines = f"the corrupted input's {format_number(corrupted)} and the training mean's {format_number(training)}"
    listing += f" (The oracle constant has {format_number(oracle)}.)" if math.isfinite(oracle) else ""
    if won:
        gain = f"{100 * (1 - restored / corrupted):.0f} % of the corruption's error is gone."
        return html.verdict(f"<strong>Yes.</strong> {error}, below {baselines}. {gain} {listing}", True)
    advice = "Longer training or lower learning rates may help."
    return html.verdict(f"<strong>Not yet.</strong> {error}, not below both of {baselines}. {listing} {advice}", False)


def _judgment(numbers: Mapping[str, Any]) -> str:
    won = better(numbers)
    if won is None:
        return "not measured"
    if won:
        return '<span class="good-text">✓ beats both</span>'
    restored = read_number(numbers, "restored_mse")
    lost = [words for name, words in BASELINES.items() if restored >= read_number(numbers, f"{name}_mse")]
    return f'<span class="bad-text">✗ loses to {" and ".join(lost)}</span>'


def panels(folders: Sequence[Path]) -> str:
    """The restoration panels, the full mix first."""
    files: dict[str, Path] = {}
    for folder in folders:
        for file in sorted((folder / "panels").glob("*.png")):
            files.setdefault(file.stem, file)
    if not files:
        return html.paragraph("No restoration panels were found (<code>panels/*.png</code>).", soft=True)
    missing = [KINDS[kind][0].lower() for kind in KINDS if kind not in (*files, "mask")]  # few recipes mask
    figures = ""
    others = [name for name in files if name not in KINDS]  # drawn during training: the latest is enough
    for kind in [k for k in KINDS if k in files] + others[-1:]:
        caption = f"<strong>{html.text(_name(kind))}.</strong> {KINDS[kind][1] if kind in KINDS else ''}"
        words = f"{_name(kind)}: cubes in three planes; columns: original, corrupted, restored, absolute error."
        figures += html.picture(files[kind], words, caption)
    explain = (
        "Cubes from held-out cases, one a row: axial, coronal and sagittal plane (of flat cubes, coronal over "
        "sagittal), the patient's right on the left. The network sees only the second column; the last one shows where "
        "it is still wrong (black: right, bright: off by half the gray range or more)."
    )
    found = html.paragraph(f"Missing: {', '.join(missing)}.", soft=True) if missing else ""
    return html.paragraph(explain) + f'<div class="panels">{figures}</div>' + found


def curves(rows: Sequence[Mapping[str, float]], restoration: Mapping[str, Any]) -> str:
    """The losses over the epochs."""
    if not rows:
        return html.paragraph("No training record was found (<code>losses.csv</code>).", soft=True)
    overall = restoration.get("overall") or {}
    shown = {"corrupted input": "corrupted", "training mean": "training_mean", "oracle constant": "constant"}
    lines = {words: read_number(overall, f"{name}_mse") for words, name in shown.items()}
    svg = draw_losses(rows, {name: value for name, value in lines.items() if math.isfinite(value)})
    explain = (
        "Left: the restoration error, which falls when learning goes well; dashed lines are the baselines from above, "
        "on held-out cases. Right: the classifiers' losses. The modality loss is adversarial: near 0.69 (two "
        "modalities) the discriminator is guessing, which is what the encoder is trained for. Guessing among three "
        "scales would cost 1.10."
    )
    names = ["loss", "loss_restoration", "loss_modality", "loss_scale", "val_restoration"]
    ends = [[html.text(n), *(format_number(row.get(n, math.nan)) for row in (rows[0], rows[-1]))] for n in names]
    for cells, name in zip(ends, names, strict=True):  # validation may skip epochs: its first and last one
        measured = [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]
        cells[1:] = [format_number(measured[0]), format_number(measured[-1])] if measured else ["–", "–"]
    grid = html.table("Losses at the first and the last epoch measured", ["loss", "first", "last"], ends, (1, 2))
    return (
        html.chart(svg, "Curves of the losses over the epochs; the table below has first and last values.", explain)
        + grid
    )


def scans(scans: str | Path | None, evaluation: Mapping[str, Any]) -> str:
    """Pictures of the scans, and which of them were held out."""
    shown = ""
    if scans is not None and Path(scans).exists():
        words = "Axial, coronal and sagittal slices through the middle of each scan."
        shown = html.picture(Path(scans), words, words)
    cases = evaluation.get("cases") or []
    listing = ", ".join(f"<code>{html.text(case)}</code>" for case in cases)
    return shown + (html.paragraph(f"Held out from training: {listing}.") if cases else "")


def steps(timings: Sequence[tuple[str, str, float]]) -> str:
    """What ran, and how long."""
    if not timings:
        return html.paragraph("No timings were recorded.", soft=True)
    body = [[html.text(s), f"<code>{html.text(c)}</code>", _duration(t)] for s, c, t in timings]
    body.append(["all", "", _duration(sum(t for _, _, t in timings))])
    return html.table("Commands in the order in which they ran", ["step", "command", "time"], body, (2,), len(body) - 1)


def versions(versions: Mapping[str, str]) -> str:
    """Software versions."""
    if not versions:
        return html.paragraph("No versions were recorded.", soft=True)
    return html.table("Software", ["name", "version"], [[html.text(k), html.text(v)] for k, v in versions.items()])
