# SPDX-License-Identifier: Apache-2.0
"""Each setting of fine-tuning, on a bundle of each kind: it trains, is interrupted and resumed, and is checked."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from classification_tasks import ADC, write_adni
from conftest import REPOSITORY
from ignite.engine import Events
from monai.bundle import ConfigParser
from task_bundles import FEATURES, SEGMENTATION, checkpoint, rows, run, workflow, write_segmentation_data
from user_errors import raises_user_error

from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.provenance import complete, provenance_file, write_weights

BTS = next(iter(SEGMENTATION))
SMALL = {
    BTS: {
        "patch_size": [16, 16, 8],
        "spacing": [8.0, 8.0, 8.0],
        "batch_size": 3,
        "cubes_per_case": 2,
        "image_interval": 0,
    },
    ADC: {"patch_size": [24, 24, 24], "spacing": [8.0, 8.0, 8.0], "batch_size": 2},
}
PRETRAINING = "universal_model_pretraining"
RATES = {"loaded": 0.0003, "new": 0.003}
SAWTOOTH = {"schedule": "sawtooth", "schedule_shares": {"head": 0.5, "warmup": 0.2}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """For each bundle a folder of cases in miniature."""
    folders = {task: tmp_path_factory.mktemp("cases") for task in SMALL}
    write_segmentation_data(folders[BTS], BTS)
    write_adni(folders[ADC])
    return folders


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Weights as a pre-training leaves them, with a provenance."""
    torch.manual_seed(5)
    network = UniversalModel(features=FEATURES, outputs="all").train()
    network(torch.rand(2, 1, 16, 16, 16))
    described = {
        "features": FEATURES,
        "spacing": [6.0, 6.0, 6.0],
        "patch_size": [16, 16, 8],
        "intensity_range": {"ct": [-1000, 1000], "mri": [0, 3000]},
        "intensity_scale": {"ct": "range", "mri": "range"},
    }
    file = tmp_path_factory.mktemp("pretrained") / "model.pt"
    write_weights(file, network.state_dict(), complete(described, network.state_dict()))
    return file


@pytest.fixture
def prepare(data, pretrained, tmp_path):
    """Prepare the training of a bundle from the weights."""

    def start(task, name="run", **settings):
        folders = {"bundle_root": str(tmp_path / name), "dataset_dir": str(data[task])}
        given = {"pretrained_weights": str(pretrained), **folders, **SMALL[task], **settings}
        flow = workflow(task, "train", **given)
        flow.initialize()
        return flow

    return start


@pytest.fixture
def train(prepare, tmp_path):
    """Train, and return the folder of the run."""

    def start(task, name="run", **settings):
        prepare(task, name, **settings).run()
        return tmp_path / name

    return start


def interrupt():
    raise KeyboardInterrupt


def parts_that_moved(root, pretrained):
    given, now = torch.load(pretrained, weights_only=True), checkpoint(root)
    names = [name for name in now if name.endswith(".weight") and name in given]
    return {name.split(".")[0] for name in names if not torch.equal(now[name], given[name])}


@pytest.mark.parametrize("task", SMALL)
def test_sawtooth_leaves_the_encoder_alone_at_first(task, train, pretrained):
    settings = {"schedule": "sawtooth", "schedule_shares": {"head": 0.9, "warmup": 0}}
    root = train(task, epochs=1, **settings)  # two steps, both with the encoder frozen
    assert "encoder" not in parts_that_moved(root, pretrained)
    provenance = json.loads(provenance_file(root / "models" / "model.pt").read_text())
    assert provenance["schedule"] == "sawtooth"
    assert provenance["schedule_shares"] == settings["schedule_shares"]


@pytest.mark.parametrize("task", SMALL)
def test_a_resumed_run_ends_like_one_in_one_piece(task, prepare, train):
    settings = {**SAWTOOTH, "learning_rate": RATES, "loaded_statistics": "reestimated", "epochs": 4}
    settings |= {"channels_last": "true", "follow_pretraining": "true"}
    whole = train(task, "whole", **settings)
    flow = prepare(task, "parts", **settings)
    flow.trainer.add_event_handler(Events.EPOCH_STARTED(once=3), interrupt)
    with pytest.raises(KeyboardInterrupt):
        flow.run()
    torch.rand(7)  # whatever happens in between
    parts = train(task, "parts", resume="true", **settings)
    first, second = checkpoint(whole), checkpoint(parts)
    assert all(torch.equal(first[name], second[name]) for name in first)
    records = [[{**row, "seconds": ""} for row in rows(root / "output" / "losses.csv")] for root in (whole, parts)]
    assert records[0] == records[1]
    columns = {"lr_encoder", "lr_decoder", "lr_new"} - ({"lr_decoder"} if task == ADC else set())
    assert columns == {name for name in records[0][0] if name.startswith("lr")}
    assert float(records[0][0]["lr_encoder"]) == 0 < float(records[0][2]["lr_encoder"])


def test_the_encoder_alone_is_loaded(train, pretrained, capsys):
    root = train(BTS, transfer="encoder", learning_rate={"loaded": 0, "new": 0.01}, epochs=1)
    assert "encoder" not in parts_that_moved(root, pretrained)
    assert [name for name in rows(root / "output" / "losses.csv")[0] if name.startswith("lr")] == [
        "lr_encoder",
        "lr_new",
    ]
    assert "100.0%" in capsys.readouterr().out


def test_a_schedule_is_as_long_as_the_run(train):
    settings = {"schedule": "warmup", "pretrained_weights": None}
    train(BTS, epochs=1, **settings)
    with raises_user_error(r"^resume: .* was written with lr_scheduler::steps=2, this run has 4: give the same"):
        train(BTS, epochs=2, resume="true", **settings)


def test_the_parts_that_were_loaded_stay_those(train):
    settings = {"learning_rate": RATES, "epochs": 1}
    train(BTS, **settings)
    with raises_user_error(r"^resume: .* was written with pretrained_weights='tensors of .*', this run has None"):
        train(BTS, resume="true", pretrained_weights=None, **settings)


@pytest.mark.parametrize("task", SMALL)
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ["schedule", "zigzag", "'zigzag' is not one of"],
        ["schedule_shares", {"head": 1, "warmup": 0.1}, "less than 1 together"],
        ["learning_rate", {"encoder": 0.1}, "one for each of 'loaded' and 'new'"],
        ["transfer", "decoder", "'decoder' is not one of"],
        ["loaded_statistics", "fresh", "'fresh' is not one of"],
        ["follow_pretraining", "maybe", "'maybe' is not a boolean"],
        ["follow_pretraining", "true", "there are no pretrained_weights to follow"],
        ["channels_last", "maybe", "'maybe' is not a boolean"],
    ],
)
def test_a_bad_value_ends_in_one_line(task, key, value, message, data, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[task]), **SMALL[task], key: value}
    with raises_user_error(f"^{key}: .*{message}"):
        workflow(task, "train", **settings).initialize()


def test_a_classification_has_no_decoder_to_transfer(data, tmp_path):
    settings = {"bundle_root": str(tmp_path), "dataset_dir": str(data[ADC]), **SMALL[ADC]}
    with raises_user_error(r"^transfer: 'encoder\+decoder', but the network has no decoder"):
        workflow(ADC, "train", transfer="encoder+decoder", **settings).initialize()


@pytest.mark.parametrize("task", SMALL)
def test_images_are_prepared_as_in_pretraining(task, data, prepare, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        prepare(task, follow_pretraining="true", epochs=1, patch_size=[24, 24, 24], features=[1, 2]).run()
    lines = [text for text in caplog.messages if text.startswith("follow_pretraining")]
    assert len(lines) == 1
    for change in (
        f"features {FEATURES} instead of [1, 2]",
        "spacing [6.0, 6.0, 6.0] instead of [8.0, 8.0, 8.0]",
        "intensity_range [0, 3000] instead of [0, 4000]",
        "intensity_scale range instead of volume",
    ):
        assert change in lines[0]
    assert ("patch_size [16, 16, 8] instead of [24, 24, 24]" in lines[0]) is (task == BTS)  # a whole brain is no cube
    assert "was trained with" not in caplog.text
    weights = tmp_path / "run" / "models" / "model.pt"
    provenance = json.loads(provenance_file(weights).read_text())
    assert provenance["spacing"] == [6.0, 6.0, 6.0]
    assert provenance["intensity_range"] == [0, 3000]
    settings = {"bundle_root": str(tmp_path / "run"), "dataset_dir": str(data[task]), "batch_size": 2}
    for configs in (("train", "evaluate"), ("inference",)):
        caplog.clear()
        run(task, *configs, features="$@trained['features']", **settings)
        assert "was trained with" not in caplog.text
        run(task, *configs, spacing=[8.0, 8.0, 8.0], **settings)
        assert "was trained with spacing [6.0, 6.0, 6.0], this run has [8.0, 8.0, 8.0]" in caplog.text


STATED = {  # none of them a default
    "features": FEATURES,
    "batch_statistics": True,
    "patch_size": [16, 24, 8],
    "spacing": [3.0, 2.0, 1.0],
    "intensity_range": [5, 500],
    "intensity_scale": "percentiles",
    "foreground_crop": False,
}


@pytest.mark.parametrize(
    ("task", "overlays"),
    [[task, ("evaluate",)] for task in (*SMALL, PRETRAINING)] + [[PRETRAINING, ("train_rotation", "evaluate_pretext")]],
)
def test_evaluation_takes_what_the_weights_state(task, overlays, tmp_path):
    def settings(*names, **given):
        parser = ConfigParser()
        parser.read_config([str(REPOSITORY / "bundles" / task / "configs" / f"{name}.json") for name in names])
        parser.update({"bundle_root": str(tmp_path), **given})
        followed = [key for key in STATED if key in parser["settings"] and not (key == "patch_size" and of_cubes)]
        return {key: parser.get_parsed_content(f"settings::{key}") for key in followed}

    of_cubes = task == PRETRAINING  # whose size is the store's
    plain = settings("train")
    assert settings("train", *overlays) == plain  # there are no weights yet
    state = {"w": torch.zeros(1)}
    normalization = {"normalization": "batch statistics, in evaluation too"}
    write_weights(tmp_path / "models" / "model.pt", state, complete({**STATED, **normalization}, state))
    assert settings("train", *overlays) == {key: STATED[key] for key in plain}
    assert settings("train", *overlays, features=[1, 2])["features"] == [1, 2]
    assert {"features", "batch_statistics"} <= set(plain)


def test_statistics_are_estimated_on_the_target(prepare, pretrained, tmp_path):
    flow = prepare(BTS, loaded_statistics="reestimated", epochs=1, learning_rate={"loaded": 0, "new": 0.001})
    found = {}
    flow.trainer.add_event_handler(
        Events.ITERATION_STARTED(once=1),
        lambda engine: found.update(
            {name: value.to("cpu", copy=True) for name, value in engine.network.state_dict().items()}
        ),
    )
    flow.run()
    given = torch.load(pretrained, weights_only=True)
    name = "encoder.levels.0.norm1."
    assert torch.equal(found[name + "weight"], given[name + "weight"])
    assert not torch.allclose(found[name + "running_mean"], given[name + "running_mean"])
    assert int(found[name + "num_batches_tracked"]) == 2  # those of the first epoch
