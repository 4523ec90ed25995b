# SPDX-License-Identifier: Apache-2.0
"""Write each bundle's model card, docs/model_card.md: from its metadata, the provenance of its weights, its evaluation.

    python scripts/model_card.py                                          write the cards of all bundles
    python scripts/model_card.py --bundle NAME --evaluation WORK/output   the same, after taking an evaluation's figures
    python scripts/model_card.py --check                                  only compare; exit 1 and name what is stale

It has the form of the Hugging Face Hub, with a YAML header, and begins the README of the bundle's repository there
(`package_bundles.py`). An evaluation is kept in bundle_parts/measured/NAME/. Where a bundle has no weights, or no
evaluation, the card says what is missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fire
from card_measures import BASELINES, LEVEL, read_measures, take_evaluation
from huggingface_hub import ModelCardData
from render_bundles import BUNDLES, PARTS, read

from universal_model_components.utils.files import write_text
from universal_model_components.utils.settings import to_bool
from universal_model_components.weights.loading import trusted_weights

MEASURED = PARTS / "measured"
CARD = "docs/model_card.md"
PIPELINES = {"segmentation": "image-segmentation", "classification": "image-classification"}
FEATURES = "image-feature-extraction"  # what the hub calls the use of a pre-training's weights
ELSEWHERE = (  # own sections
    *("data", "scans", "metrics", "code", "sha256", "license", "recipe", "continued_from", "demonstration"),
)
NOT_FOR = (
    "Diagnosis, treatment, triage or any other clinical use: it is not a medical device.",
    "Scans of other modalities, body regions, scanners or people than those it was trained on: none was tested.",
)
NOT_FOR_A_KIND = {
    "segmentation": "Measuring volumes or margins without a check of every mask by a reader.",
    "classification": "Probabilities that are taken at face value: they were not calibrated.",
    FEATURES: "Restoring scans for a reader: the restored image is a training signal, and invents what was hidden.",
}


def write_cards(
    bundle: str | None = None, evaluation: str | None = None, check: bool = False, bundles: str = str(BUNDLES)
) -> None:
    """Write the model cards, or compare them.

    Args:
        bundle: name of the one bundle that an evaluation is for.
        evaluation: folder with evaluation.json and evaluation.csv, as its evaluate.json writes them; what the card
            needs of both is copied to bundle_parts/measured/NAME.
        check: only compare.
        bundles: folder of the bundles.

    Raises:
        ValueError: when a card is stale, an evaluation is given without its bundle, or a file is not as expected.
    """
    if evaluation is not None:
        if bundle is None or not (Path(bundles) / bundle).is_dir():
            raise ValueError(f"--evaluation {evaluation}: give its --bundle, one of those in {bundles}")
        take_evaluation(Path(evaluation), MEASURED / bundle)
    stale = []
    for folder in sorted(path.parent.parent for path in Path(bundles).glob("*/configs/metadata.json")):
        text, file = render_card(folder, folder / "models", MEASURED / folder.name), folder / CARD
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(file))
        if not to_bool(check, "check"):
            write_text(file, text)
            print(f"written: {file}")
    if stale and to_bool(check, "check"):
        raise ValueError(f"stale, run scripts/model_card.py: {', '.join(stale)}")


def render_card(bundle: Path, models: Path, evaluation: Path) -> str:
    """Return the text of a card.

    Args:
        bundle: folder of the bundle.
        models: folder of its weights, with model.pt or without.
        evaluation: folder of evaluation.json and evaluation.csv; it need not be there.

    Raises:
        ValueError: when the weights are damaged, or are not those of their provenance.
    """
    metadata = read(bundle / "configs" / "metadata.json")
    entry = read(PARTS / "tasks.json").get(bundle.name, {})
    kind = entry.get("kind", FEATURES)
    model = models / "model.pt"
    provenance = (trusted_weights(model)[1] or {}) if model.is_file() else None
    measures = list(read_measures(evaluation)) if (evaluation / "evaluation.json").is_file() else []
    sections = {
        metadata["name"]: [f"{metadata['description']}.", "", f"{metadata['authors']}. Version {metadata['version']}."],
        "Weights": list(_weights(provenance, metadata, entry.get("missing"))),
        "Data": list(_data(provenance)),
        "Recipe": list(_recipe(provenance)),
        "Metrics": list(_metrics(provenance, measures)),
        "Use": [f"{metadata['intended_use']}. Not for:", ""]
        + [f"- {line}" for line in (*NOT_FOR, NOT_FOR_A_KIND[kind])],
        "References": [f"- {reference}" for reference in metadata["references"]],
    }
    head = header(kind, metadata, provenance, measures)
    marks = ["#"] + ["##"] * (len(sections) - 1)
    body = [[f"{mark} {title}", "", *lines, ""] for mark, (title, lines) in zip(marks, sections.items(), strict=True)]
    return head + "\n".join(line for lines in body for line in lines)


def header(
    kind: str, metadata: Mapping[str, Any], provenance: Mapping[str, Any] | None, measures: Sequence[Mapping[str, Any]]
) -> str:
    """Return the YAML header: what the hub lists and filters models by."""
    stated = provenance or {}
    modality = metadata["network_data_format"]["inputs"]["image"]["modality"]
    license_name = "Apache-2.0" if provenance is None else stated.get("license")
    own = {"license": "other", "license_name": "terms-of-the-scans", "license_link": "docs/data_license.txt"}
    terms: dict[str, Any] = {"license": license_name.lower().replace(" ", "-")} if license_name else own
    data = ModelCardData(
        **terms,
        library_name="monai",
        pipeline_tag=PIPELINES.get(kind, FEATURES),
        tags=["monai", "medical", "3d", *modality.lower().replace(",", " ").split()],
        datasets=[entry["source"] for entry in stated.get("scans", [])] or list(stated.get("data", {})) or None,
        metrics=list(dict.fromkeys(row["measure"] for row in measures if row["measure"] not in BASELINES)) or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _table(*rows: Sequence[Any]) -> list[str]:
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def _weights(provenance: Mapping[str, Any] | None, metadata: Mapping[str, Any], missing: str | None) -> Iterator[str]:
    if provenance is None:
        yield "None are released with this bundle. Missing: `models/model.pt` with its provenance. Training writes both"
        yield f"from scans: {metadata['data_source']}."
        if missing is not None:
            yield f"Missing to train them: {missing}."
        return
    if not provenance:
        yield "`models/model.pt` has no provenance: how it was trained is unknown."
        return
    if "demonstration" in provenance:
        yield f"**A demonstration, not the weights of the task**: {provenance['demonstration']}."
        yield from (f"None of the task itself are released. Missing to train them: {missing}.", "")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(provenance.get("code", {}).items()))
    yield f"`models/model.pt`, of epoch {provenance.get('epoch', 'unknown')}; SHA-256 of the tensors:"
    yield f"`{provenance['sha256']}`. Written by {versions or 'unknown versions'}."
    yield f"License: {provenance.get('license', 'the terms of the scans apply, see `docs/data_license.txt`')}."


def _data(provenance: Mapping[str, Any] | None) -> Iterator[str]:
    """List the data sets with licenses, and those of the weights that training started from."""
    stated = provenance or {}
    if not any(key in stated for key in ("data", "scans", "continued_from")):
        yield "No data set is stated" + (": there are no weights." if provenance is None else " in the provenance.")
    if stated.get("scans"):
        rows = [(one["source"], one["license"], len(one["scans"]), one["attribution"]) for one in stated["scans"]]
        yield from _table(("source", "license", "scans", "attribution"), *rows)
        yield ""
    if stated.get("data"):
        sets = ((name, one["license"], _cases(one)) for name, one in stated["data"].items())
        yield from _table(("set", "license", "cases"), *sets)
    if ancestor := stated.get("continued_from"):
        yield from ("", f"It continued `{ancestor['file']}` (tensors' SHA-256 `{ancestor['sha256']}`), trained on:")
        yield from ("", *_data(ancestor))


def _cases(entry: Mapping[str, Any]) -> str:
    cases = entry.get("cases", {}).items()
    return "; ".join(f"{name}: " + ", ".join(f"{n} {split}" for split, n in counts.items()) for name, counts in cases)


def _recipe(provenance: Mapping[str, Any] | None) -> Iterator[str]:
    if not provenance:
        yield "Not stated: there is no provenance."
        return
    facts = {key: value for key, value in provenance.items() if key not in ELSEWHERE}
    if facts.get("pretrained_weights"):
        facts["pretrained_weights"] = Path(facts["pretrained_weights"]).name  # not the folders of a machine
    yield from _table(("key", "value"), *((key, f"`{json.dumps(value)}`") for key, value in sorted(facts.items())))


def _metrics(provenance: Mapping[str, Any] | None, measures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if measures:
        rows = [(r["measure"], r["of"], _shown(r["value"]), _between(r["interval"]), r["over"]) for r in measures]
        yield from _table(("measure", "split", "value", f"{LEVEL:.0%} interval", "over"), *rows)
        yield ""
    else:
        yield "No evaluation is recorded: `configs/evaluate.json` writes one."
    kept = {name: value for name, value in (provenance or {}).get("metrics", {}).items() if value is not None}
    if kept:
        yield from ("At the epoch that was kept, on the validation cases that chose it:", "")
        yield from _table(("metric", "value"), *((name, _shown(value)) for name, value in sorted(kept.items())))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _between(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"


if __name__ == "__main__":
    try:
        fire.Fire(write_cards)
    except (ValueError, OSError) as error:
        sys.exit(f"model_card: {error}")
