# SPDX-License-Identifier: Apache-2.0
"""Put trained weights into their bundle, with the licenses of the scans they were trained on.

    python scripts/release_weights.py pretraining weights --system universal
    python scripts/release_weights.py demonstration WORK --bundle NAME --says "they ..." --datalist FILE \
        --dataset_dir DATA

`pretraining` takes an experiment's pre-training. It writes models/model.pt and model.provenance.json, the scans and
their licenses in docs/data_license.txt, and the losses in docs/evidence/weights/: losses.csv has each epoch,
first_steps.csv each of the first steps, to reproduce. `demonstration` takes a target task's training on a stand-in for
the task's data. It writes the same two files, and renders the bundle's texts and model card, which then name the
weights a demonstration. A scan that released_scans.json does not name is refused: nothing is released that was trained
on it.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import fire
import model_card
import render_bundles
from card_measures import read_measures
from monai.bundle import ConfigParser
from release_checks import check_license, check_unseen, find_ancestor, match_sources, named_from
from weights_terms import of_pretraining, with_section

from universal_model_components.tasks.segmentation_data import cases_identity, read_cases
from universal_model_components.utils.errors import show_user_errors
from universal_model_components.utils.files import write_text
from universal_model_components.weights.files import load_pickle
from universal_model_components.weights.loading import read_weights
from universal_model_components.weights.provenance import (
    METHOD_OF_A_TASK,
    TASK,
    read_provenance,
    write_weights,
)

REPOSITORY = Path(__file__).resolve().parents[1]
EVIDENCE = REPOSITORY / "docs" / "evidence" / "weights"
SOURCES = REPOSITORY / "scripts" / "released_scans.json"
BUNDLE = "universal_model_pretraining"
STEPS = 50


def release_pretraining(
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
    section = of_pretraining(terms["license"], sources, prepared)
    write_text(bundle / "docs" / "data_license.txt", with_section(text, section))
    Path(evidence).mkdir(parents=True, exist_ok=True)
    write_text(Path(evidence) / "losses.csv", (folder / "output" / "losses.csv").read_text(encoding="utf-8"))
    write_text(Path(evidence) / "first_steps.csv", first_steps(folder / "output" / "tensorboard"))
    write_weights(bundle / "models" / "model.pt", read_weights(file), provenance)
    print(f"{bundle / 'models' / 'model.pt'}: weights of {folder.name}, trained on {len(listed)} scans")


def release_demonstration(
    work: str,
    bundle: str,
    says: str,
    datalist: str,
    dataset_dir: str,
    data: str | None = None,
    evaluation: str | None = None,
    bundles: str = str(REPOSITORY / "bundles"),
    sources: str = str(SOURCES),
) -> None:
    """Release the model of a finished target task, trained on a stand-in for the task's data, as a demonstration.

    Args:
        work: --bundle_root of the training.
        bundle: name of the task's bundle.
        says: what the weights do and were trained on, such as "they segment lesions": it follows "a demonstration: ".
        datalist: of the training.
        dataset_dir: of the training.
        data: folder that the sources name their scans from; by default the one that dataset_dir is in.
        evaluation: output folder of the evaluation on the test cases, for the model card.
        bundles: folder of the bundles.
        sources: JSON of the scans that weights may be released for.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when the weights are not a target task's, were trained on other cases or on scans that may not be
            used, started from weights without a license or under another, or that have seen a test case or another
            scan of its person.
    """
    file, target = Path(work) / "models" / "model.pt", Path(bundles) / bundle
    state, provenance = read_weights(file), read_provenance(file, {}) or {}
    if provenance.get("method") != METHOD_OF_A_TASK:
        raise ValueError(f"{file}: method {provenance.get('method')!r}, expected {METHOD_OF_A_TASK!r}: train {bundle}")
    if provenance.get(TASK, bundle) != bundle:
        raise ValueError(f"{file}: weights of {provenance[TASK]}, expected {bundle}'s: name that bundle")
    root = Path(data).resolve() if data is not None else Path(dataset_dir).resolve().parent
    images, identity = trained_cases(Path(work), target, datalist, str(Path(dataset_dir).resolve()))
    terms = json.loads(Path(sources).read_text(encoding="utf-8"))
    provenance |= {"demonstration": says.strip().rstrip("."), "license": terms["license"]}
    provenance["scans"] = match_sources([named_from(root, image) for image in images], terms["sources"])
    if ancestor := find_ancestor(provenance.get("pretrained_weights"), identity.get("pretrained_weights")):
        check_license(ancestor, terms["license"])
        check_unseen(ancestor, [named_from(root, image) for image in held_out(datalist, dataset_dir)], terms["sources"])
        provenance |= {"pretrained_weights": ancestor["file"], "continued_from": ancestor}
    if evaluation is not None:
        list(read_measures(Path(evaluation)))  # fails before anything is written
    write_weights(target / "models" / "model.pt", state, provenance)
    render_bundles.main([], Path(bundles))
    model_card.write_cards(bundle, evaluation, bundles=bundles)
    print(f"{target / 'models' / 'model.pt'}: a demonstration, trained and chosen on {len(images)} scans")


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


def trained_cases(work: Path, bundle: Path, datalist: str, dataset_dir: str) -> tuple[list[str], dict[str, Any]]:
    """Return the scans that a target task was trained on or that chose its model, and the identity in its checkpoint.

    Raises:
        ValueError: when there is no checkpoint, or it was written for other cases.
    """
    checkpoint = load_pickle(work / "models" / "checkpoint.pt", "work", "give the bundle_root of a finished training")
    identity, parser = dict(checkpoint["identity"]), ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.json"))
    chosen = {key: identity[key] for key in ("label_fraction", "seed", "label_values") if key in identity}
    parser.update({**chosen, "datalist": datalist, "dataset_dir": dataset_dir})
    training, validation = (parser.get_parsed_content(f"{part}::dataset::data") for part in ("train", "validate"))
    given = cases_identity(training, validation, dataset_dir)
    if given != identity["datalist"]:
        raise ValueError(f"datalist: {datalist} has {given}, {work} was trained with {identity['datalist']}: give that")
    return sorted(case["image"] for case in (*training, *validation)), identity


def held_out(datalist: str, dataset_dir: str) -> list[str]:
    """Return the scans of the test cases; there may be none."""
    folder = Path(dataset_dir).resolve()
    return [
        case["image"] for case in read_cases(datalist, folder, "test", ("image",), optional=True, check_files=False)
    ]


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
    show_user_errors("release_weights")
    fire.Fire({"pretraining": release_pretraining, "demonstration": release_demonstration})
