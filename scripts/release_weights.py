# SPDX-License-Identifier: Apache-2.0
"""Put the weights of an experiment's pre-training into its bundle, with the licenses of the scans they were trained on.

    python scripts/release_weights.py weights --system universal

It writes models/model.pt and model.provenance.json, the scans and their licenses in docs/data_license.txt, and the
losses in docs/evidence/weights/: losses.csv has each epoch, first_steps.csv each of the first steps, to reproduce.
A scan that released_scans.json does not name is refused: nothing is released that was trained on it.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import fire

from universal_model_components.utils.files import write_text
from universal_model_components.weights.loading import read_weights
from universal_model_components.weights.provenance import read_provenance, write_weights

REPOSITORY = Path(__file__).resolve().parents[1]
EVIDENCE = REPOSITORY / "docs" / "evidence" / "weights"
SOURCES = REPOSITORY / "scripts" / "released_scans.json"
BUNDLE = "universal_model_pretraining"
STEPS = 50
HEADING = "Weights"


def release(
    experiment: str,
    system: str = "universal",
    bundles: str = str(REPOSITORY / "bundles"),
    evidence: str = str(EVIDENCE),
) -> None:
    """Release the weights of a finished pre-training.

    Args:
        experiment: its folder, as written by `experiment run`.
        system: whose pre-training.
        bundles: folder of the bundles.
        evidence: folder for the losses.

    Raises:
        ValueError: when there is not one finished pre-training, or a scan may not be used for released weights.
    """
    folder = find_pretraining(Path(experiment), system)
    listed, prepared = trained_scans(folder)
    terms = json.loads(SOURCES.read_text(encoding="utf-8"))
    sources = match_sources(listed, terms["sources"])
    file, bundle = folder / "models" / "model.pt", Path(bundles) / BUNDLE
    provenance = {**(read_provenance(file, {}) or {}), "license": terms["license"], "scans": sources}
    for facts in provenance.get("data", {}).values():
        facts["license"] = "by scan"
    text = (bundle / "docs" / "data_license.txt").read_text(encoding="utf-8")
    write_text(bundle / "docs" / "data_license.txt", license_text(text, terms["license"], sources, prepared))
    Path(evidence).mkdir(parents=True, exist_ok=True)
    write_text(Path(evidence) / "losses.csv", (folder / "output" / "losses.csv").read_text(encoding="utf-8"))
    write_text(Path(evidence) / "first_steps.csv", first_steps(folder / "output" / "tensorboard"))
    write_weights(bundle / "models" / "model.pt", read_weights(file), provenance)
    print(f"{bundle / 'models' / 'model.pt'}: weights of {folder.name}, trained on {len(listed)} scans")


def find_pretraining(experiment: Path, system: str) -> Path:
    """Return the folder of the finished pre-training of a system.

    Raises:
        ValueError: when there is none, or more than one.
    """
    records = sorted(experiment.glob("pretraining/*/record.json"))
    found = [file.parent for file in records if json.loads(file.read_text(encoding="utf-8"))["system"] == system]
    if len(found) != 1:
        raise ValueError(f"{experiment}: {len(found)} finished pre-trainings of {system!r}, expected one")
    return found[0]


def trained_scans(folder: Path) -> tuple[list[str], int]:
    """Return the scans whose cubes a pre-training used, as its datalist names them, and how many cubes they gave."""
    store = Path(json.loads((folder / "train.json").read_text(encoding="utf-8"))["cube_store"])
    prepare = json.loads((store.parent / "prepare.json").read_text(encoding="utf-8"))
    training = json.loads(Path(prepare["datalist"]).read_text(encoding="utf-8"))["training"]
    index = json.loads((store / "store.json").read_text(encoding="utf-8"))
    cubes = sum(sum(case["counts"]) for case in index["splits"]["training"])
    return sorted(entry["image"] for entry in training), cubes


def match_sources(scans: Iterable[str], sources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sort scans by their source, and replace the patterns of each source by the scans.

    Raises:
        ValueError: when a scan has no source.
    """
    found: list[dict[str, Any]] = [{**source, "scans": []} for source in sources]
    for scan in scans:
        places = [
            place
            for place, source in enumerate(sources)
            if any(fnmatchcase(scan, pattern) for pattern in source["scans"])
        ]
        if not places:
            raise ValueError(
                f"{scan}: not in {SOURCES.name}: exclude it from pre-training, or add its source and license"
            )
        found[places[0]]["scans"].append(scan)
    return [source for source in found if source["scans"]]


def license_text(text: str, license_name: str, sources: Sequence[Mapping[str, Any]], cubes: int) -> str:
    """Return data_license.txt with the section on the weights at its end replaced."""
    count = sum(len(source["scans"]) for source in sources)
    lines = [
        f"The weights in models/ are under {license_name}, the license of the scans under share-alike terms among the",
        f"{count} that they were trained on ({cubes:,} cubes). No label was used. Sources:",
    ]
    for source in sources:
        lines += ["", f"- {source['source']}: {source['license']}, {source['attribution']}"]
        lines += [f"  {source['url']}"] if "url" in source else []
        lines += [f"  {scan}" for scan in source["scans"]]
    head = text.partition(f"\n{HEADING}\n")[0].rstrip("\n")
    return "\n".join([head, "", HEADING, "-" * 71, *lines, ""])


def first_steps(logs: Path) -> str:
    """Return the losses of the first steps as CSV, from a run's TensorBoard log; they need no rounding to compare."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logs), size_guidance={"scalars": 0})
    events.Reload()
    names = [
        name for name in ("loss", "loss_restoration", "loss_modality", "loss_scale") if name in events.Tags()["scalars"]
    ]
    columns = [events.Scalars(name)[:STEPS] for name in names]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["step", *names])
    for row in zip(*columns, strict=True):
        writer.writerow([row[0].step, *(repr(value.value) for value in row)])
    return stream.getvalue()


if __name__ == "__main__":
    try:
        fire.Fire(release)
    except ValueError as error:
        sys.exit(f"release_weights: {error}")
