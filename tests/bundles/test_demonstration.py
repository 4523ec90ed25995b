# SPDX-License-Identifier: Apache-2.0
"""A task's trained weights become its bundle's demonstration, and the bundle runs without any of their settings."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys

import model_card
import nibabel
import numpy as np
import pytest
import release_weights
import render_bundles
import torch
from classification_tasks import ADC
from conftest import REPOSITORY
from huggingface_hub import ModelCard
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export
from task_bundles import FEATURES, SEGMENTATION, TASKS, change_datalist, read_json, rows, tool_files
from user_errors import raises_user_error

from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.loading import read_weights
from universal_model_components.weights.provenance import complete, read_provenance, write_weights

BTS = next(iter(SEGMENTATION))
SAYS = "they segment what a program drew, a stand-in for tumors"
SOURCE = {"source": "phantoms", "license": "CC0 1.0", "attribution": "this project", "scans": ["cases*/images/*"]}
SEEN = {"source": "brains", "license": "CC BY-SA 4.0", "attribution": "someone", "scans": ["brains/a.nii.gz"]}


def infer(bundle, root, **settings):
    """Run a bundle's inference with no setting but where things are."""
    configs = settings.pop("configs", ["inference"])
    flow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / f"{name}.json") for name in configs],
        meta_file=str(bundle / "configs/metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(root),
        num_workers=0,
        device="cpu",
        **settings,
    )
    flow.initialize()
    flow.run()
    flow.finalize()


@pytest.fixture
def released(task_data, tmp_path, monkeypatch):
    """A function that releases a training's model into copies of all bundles without weights; it returns the bundle."""
    monkeypatch.setattr(model_card, "MEASURED", tmp_path / "measured")
    without = shutil.ignore_patterns("model.*")
    shutil.copytree(REPOSITORY / "bundles", tmp_path / "bundles", ignore=without)
    (tmp_path / "sources.json").write_text(json.dumps({"license": "CC BY-SA 4.0", "sources": [SOURCE]}))

    def release(work, **changes):
        data = task_data(BTS)
        given = {"bundle": BTS, "datalist": str(data / "datalist.json"), "dataset_dir": str(data), "says": SAYS + "."}
        given |= {"bundles": str(tmp_path / "bundles"), "sources": str(tmp_path / "sources.json"), **changes}
        release_weights.release_demonstration(str(work), **given)
        return tmp_path / "bundles" / BTS

    return release


@pytest.fixture
def ancestor(tmp_path):
    """Released weights of a pre-training."""
    state = UniversalModel(features=FEATURES).state_dict()
    described = {"method": "Universal Model pre-training", "license": "CC BY-SA 4.0", "scans": [SEEN]}
    write_weights(tmp_path / "pretrained/model.pt", state, complete(described, state))
    return tmp_path / "pretrained/model.pt"


def test_a_demonstration_is_named_so_wherever_its_bundle_is_described(released, trained_task, task_data, tmp_path):
    bundle = released(trained_task(BTS))
    description = read_json(bundle / "configs/metadata.json")["description"]
    assert description.endswith(f"The weights in models/ are a demonstration: {SAYS}")
    readme, terms = ((bundle / f"docs/{name}").read_text() for name in ("README.md", "data_license.txt"))
    readme = " ".join(readme.split())
    assert f"The weights in `models/` are a demonstration: {SAYS}. In section 4, `--bundle_root $B/.." in readme
    assert f"None of the task itself are released. Missing to train them: {TASKS[BTS]['missing']}." in readme
    assert "This bundle contains no scans, and the weights described at the end." in terms
    images = [f"{task_data(BTS).name}/images/case_{number}.nii.gz" for number in range(4)]
    assert terms.endswith("\n".join(["- phantoms: CC0 1.0, this project", *(f"  {image}" for image in images), ""]))
    card = (bundle / "docs/model_card.md").read_text()
    assert f"## Weights\n\n**A demonstration, not the weights of the task**: {SAYS}.\n" in card
    assert "| phantoms | CC0 1.0 | 4 | this project |" in card
    assert ModelCard(card).data.license == "cc-by-sa-4.0"
    state, trained = read_weights(bundle / "models/model.pt"), read_weights(trained_task(BTS) / "models/model.pt")
    assert all(torch.equal(state[name], trained[name]) for name in trained)
    assert render_bundles.main(["--check"], tmp_path / "bundles") == 0
    for task in sorted(TASKS.keys() - {BTS}):
        other = tmp_path / "bundles" / task
        line = f"No weights are released with this bundle. Missing to train them: {TASKS[task]['missing']}."
        assert line in " ".join((other / "docs/README.md").read_text().split())
        assert f"Missing to train them: {TASKS[task]['missing']}." in (other / "docs/model_card.md").read_text()
        assert "demonstration" not in read_json(other / "configs/metadata.json")["description"]


def test_a_demonstration_states_what_it_started_from_and_how_good_it_is(released, small, ancestor, tmp_path):
    small.run(BTS, "train", epochs=1, pretrained_weights=ancestor)
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "evaluation.json").write_text(json.dumps({"split": "test"}))
    (evaluation / "evaluation.csv").write_text("case,iou,dice,hd95_mm\na,0.5,0.625,3\n")
    bundle = released(small.root, evaluation=str(evaluation))
    provenance = read_provenance(bundle / "models/model.pt", {})
    assert provenance["pretrained_weights"] == "model.pt"  # no folder of a machine
    assert provenance["continued_from"]["scans"] == [SEEN]
    card, terms = ((bundle / f"docs/{name}").read_text() for name in ("model_card.md", "data_license.txt"))
    assert "| brains | CC BY-SA 4.0 | 1 | someone |" in card
    assert "| dice | test | 0.625 | - | 1 cases |" in card
    assert provenance["continued_from"]["sha256"] in terms
    assert terms.endswith("trained on scans of:\n\n- brains: CC BY-SA 4.0, someone\n")


def test_a_bundle_with_its_weights_alone_segments_as_with_all_settings(released, small, trained_task, tmp_path, caplog):
    bundle = released(trained_task(BTS))
    small.run(BTS, "inference", output_dir=tmp_path / "given", split="test")
    with caplog.at_level(logging.WARNING):
        infer(bundle, bundle, dataset_dir=str(small.data(BTS)), output_dir=str(tmp_path / "own"))
        assert "was trained with" not in caplog.text
        wider = {"output_dir": str(tmp_path / "wider"), "spacing": [9.0, 9.0, 9.0]}  # the command line wins
        infer(bundle, bundle, dataset_dir=str(small.data(BTS)), **wider)
        assert "was trained with spacing [8.0, 8.0, 8.0], this run has [9.0, 9.0, 9.0]" in caplog.text
    masks = {folder: sorted((tmp_path / folder).rglob("*_seg.nii.gz")) for folder in ("given", "own")}
    assert len(masks["own"]) == len(masks["given"]) > 0
    for own, given in zip(*masks.values(), strict=True):
        assert np.array_equal(nibabel.load(own).dataobj, nibabel.load(given).dataobj)


def test_a_classification_takes_its_settings_from_the_weights_too(small, trained_task, bundles, tmp_path):
    small.run(ADC, "inference", output_dir=tmp_path / "given")
    infer(bundles / ADC, trained_task(ADC), dataset_dir=str(small.data(ADC)), output_dir=str(tmp_path / "own"))
    assert rows(tmp_path / "own/predictions.csv") == rows(tmp_path / "given/predictions.csv")


def test_exports_have_the_width_of_the_weights(released, trained_task, tmp_path):
    bundle = released(trained_task(BTS))
    given = {"bundle_root": str(bundle), "ckpt_file": str(bundle / "models/model.pt"), **tool_files(bundle)}
    ckpt_export("network_def", str(tmp_path / "model.ts"), **given)
    assert torch.jit.load(str(tmp_path / "model.ts"))(torch.zeros(1, 1, 16, 16, 8)).shape == (1, 1, 16, 16, 8)


@pytest.mark.parametrize("beside", [True, False])
def test_an_onnx_file_is_used_as_the_weights_beside_it(beside, bundles, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    if beside:
        (tmp_path / "model.provenance.json").write_text(json.dumps({"spacing": [2, 2, 2]}))
    parser = ConfigParser()
    parser.read_config([str(bundles / BTS / f"configs/{name}.json") for name in ("inference", "inference_onnx")])
    parser["ckpt_dir"] = str(tmp_path)
    assert parser.get_parsed_content("settings::spacing") == ([2, 2, 2] if beside else [1, 1, 1])
    assert parser.get_parsed_content("settings::patch_size") == [64, 64, 32]


def test_weights_of_a_pretraining_are_no_masks(bundles, small, ancestor, tmp_path):
    with raises_user_error(
        r"^pretrained_weights: .*model\.pt are weights of .* pre-training., expected those of the task brats"
    ):
        infer(
            bundles / BTS,
            tmp_path,
            dataset_dir=str(small.data(BTS)),
            pretrained_weights=str(ancestor),
            features=FEATURES,
        )


def test_what_may_not_be_released_is_refused(released, small, trained_task, task_data, ancestor, tmp_path):
    work, data = trained_task(BTS), task_data(BTS)
    (tmp_path / "none.json").write_text(json.dumps({"license": "CC0 1.0", "sources": []}))
    (tmp_path / "other").mkdir()
    other = change_datalist(data, tmp_path / "other", lambda lists: lists["training"].pop())
    for changes, message in (
        ({"sources": str(tmp_path / "none.json")}, r"case_0\.nii\.gz: not in .*exclude it from training"),
        ({"datalist": str(other)}, "2 training and 1 validation cases.*was trained with 3 training"),
        ({"data": str(tmp_path / "other")}, r"^data: .* is not below .*other"),
        ({"evaluation": str(tmp_path / "nowhere")}, r"nowhere/evaluation\.json"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            released(work, **changes)
        assert not list((tmp_path / "bundles").glob("*/models/model.*"))  # refused before anything is written
        shutil.rmtree(tmp_path / "bundles")
        shutil.copytree(REPOSITORY / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("model.*"))


@pytest.mark.parametrize(
    ("key", "message"),
    [("license", "their license is 'CC0 1.0'"), ("scans", r"saw these test cases: .*case_4\.nii\.gz")],
)
def test_weights_before_it_that_may_not_be_used_are_refused(
    key, message, released, small, task_data, ancestor, tmp_path
):
    small.run(BTS, "train", epochs=1, pretrained_weights=ancestor)
    file, data = ancestor.with_suffix(".provenance.json"), task_data(BTS)
    tested = read_json(data / "datalist.json")["test"][0]["image"]
    wrong = {"license": "CC0 1.0", "scans": [{**SEEN, "scans": [f"{data.name}/{tested}"]}]}
    file.write_text(json.dumps({**read_json(file), key: wrong[key]}))
    with pytest.raises(ValueError, match=message):
        released(small.root)
    assert not list((tmp_path / "bundles").glob("*/models/model.*"))


def test_a_refusal_is_one_line(trained_task, tmp_path):
    script = REPOSITORY / "scripts" / "release_weights.py"
    given = ["--bundle", BTS, "--says", SAYS, "--datalist", str(tmp_path / "no.json"), "--dataset_dir", str(tmp_path)]
    command = [sys.executable, str(script), "demonstration", str(trained_task(BTS)), *given]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("release_weights: datalist: cannot read")


def test_a_test_case_that_was_pretrained_on_is_refused():
    ancestor = {"scans": [SEEN]}
    release_weights.check_unseen(ancestor, ["brains/b.nii.gz"], [])
    with pytest.raises(ValueError, match=r"saw these test cases: brains/a\.nii\.gz: take them out"):
        release_weights.check_unseen(ancestor, SEEN["scans"], [])
    sources = [{**SEEN, "scans": ["brains/*", "hearts/*"]}, {**SEEN, "source": "others", "scans": ["spines/*"]}]
    release_weights.check_unseen(ancestor, ["hearts/b.nii.gz", "spines/a.nii.gz"], sources)
    ancestor["scans"].append({**SEEN, "scans": ["brains/c.nii.gz"]})
    with pytest.raises(ValueError, match=r"hearts/a\.nii\.gz \(.*in brains/a\.nii\.gz\), hearts/c"):
        release_weights.check_unseen(ancestor, ["hearts/a.nii.gz", "hearts/c.nii.gz"], sources)


def test_weights_under_another_license_are_no_start():
    release_weights.check_license({"license": "CC BY-SA 4.0"}, "CC BY-SA 4.0")
    with pytest.raises(ValueError, match=r"their license is 'CC0 1\.0', the scans ask for 'CC BY-SA 4\.0'"):
        release_weights.check_license({"license": "CC0 1.0"}, "CC BY-SA 4.0")


def test_an_ancestor_has_a_license_and_has_not_changed(ancestor):
    sha256 = read_provenance(ancestor, {})["sha256"]
    assert release_weights.find_ancestor(None, None) is None
    assert release_weights.find_ancestor(str(ancestor), f"tensors of sha256 {sha256[:16]}")["license"] == "CC BY-SA 4.0"
    with pytest.raises(ValueError, match="has changed since the training"):
        release_weights.find_ancestor(str(ancestor), "tensors of sha256 0")
    beside = ancestor.with_suffix(".provenance.json")
    beside.write_text(json.dumps({"sha256": sha256}))
    with pytest.raises(ValueError, match="states no license: start from released weights"):
        release_weights.find_ancestor(str(ancestor), f"tensors of sha256 {sha256[:16]}")
