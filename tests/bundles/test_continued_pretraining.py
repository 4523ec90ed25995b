# SPDX-License-Identifier: Apache-2.0
"""The pre-training bundle with `--pretrained_weights`: it starts from them, says so, and resumes only from the same."""

from __future__ import annotations

import json

import pytest
import torch
from task_bundles import FEATURES, PRETRAINING, run, workflow
from user_errors import raises_user_error

from universal_model_components.commands.doctor import examine
from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.provenance import complete, write_weights

STILL = {"unet": 0.0, "scale_classifier": 0.0, "discriminator": 1.0e-12}
SHORT = {"epochs": 1, "panel_interval": 0, "alarm_patience": 0}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Weights of an earlier pre-training on CT and MRI."""
    torch.manual_seed(5)
    state = UniversalModel(features=FEATURES).state_dict()
    file = tmp_path_factory.mktemp("earlier") / "model.pt"
    write_weights(file, state, complete({"method": "earlier", "modalities": ["ct", "mri"]}, state))
    return file


def test_a_run_starts_from_earlier_weights_and_names_them(earlier, cube_store, tmp_path, bundles):
    settings = {"bundle_root": str(tmp_path), "cube_store": str(cube_store), "learning_rate": STILL, **SHORT}
    run(PRETRAINING, "train", pretrained_weights=str(earlier), **settings)
    before = torch.load(earlier, weights_only=True)
    after = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    trained = [name for name in before if name.endswith(("weight", "bias")) and "discriminator" not in name]
    assert all(torch.equal(before[name], after[name]) for name in trained)
    passed = json.loads((tmp_path / "models" / "model.provenance.json").read_text())
    given = json.loads(earlier.with_suffix(".provenance.json").read_text())
    assert (passed["continued_from"]["file"], passed["continued_from"]["sha256"]) == ("model.pt", given["sha256"])
    assert passed["continued_from"]["method"] == "earlier"
    assert passed["modalities"] == ["ct", "mri"]
    longer = {**settings, "epochs": 2, "resume": "true"}
    run(PRETRAINING, "train", pretrained_weights=str(earlier), **longer)
    with raises_user_error(r"checkpoint\.pt was written with (continued_from|pretrained_weights)=.* has None"):
        run(PRETRAINING, "train", **longer)
    with raises_user_error(r"^pretrained_weights: .* is in ckpt_dir"):
        run(PRETRAINING, "train", pretrained_weights=str(tmp_path), **settings)
    lines = [str(finding) for finding in examine(bundles / PRETRAINING, _for_doctor(settings, earlier), voxels=False)]
    assert any("fills decoder, discriminator, encoder, scale_classifier; anew: nothing" in line for line in lines)


def _for_doctor(settings, weights):
    return {**settings, "features": FEATURES, "device": "cpu", "pretrained_weights": str(weights)}


@pytest.mark.parametrize(
    ("overlays", "settings", "new"),
    [
        [(), {"modalities": ["mri"], "mial": False}, []],
        [("train_rotation",), {}, ["classifier"]],
        [("train_jigsaw",), {}, ["classifier", "permutations"]],
    ],
)
def test_other_pretrainings_start_from_them_too(overlays, settings, new, earlier, cube_store, tmp_path):
    flow = workflow(
        PRETRAINING,
        *("train", *overlays),
        pretrained_weights=str(earlier),
        bundle_root=str(tmp_path),
        cube_store=str(cube_store),
        **settings,
    )
    flow.initialize()
    provenance = flow.parser.get_parsed_content("provenance")
    assert provenance["continued_from"]["new"] == new
    own = flow.parser.get_parsed_content("network_def").state_dict()
    name = "encoder.levels.3.conv2.weight"
    assert torch.equal(own[name], torch.load(earlier, weights_only=True)[name])


def test_weights_of_another_width_end_the_run_in_one_line(earlier, cube_store, tmp_path):
    settings = {"bundle_root": str(tmp_path), "cube_store": str(cube_store), "features": [4, 8, 16]}
    with raises_user_error(r"^pretrained_weights: .* give --features \"\[4, 8, 16, 32\]\"$"):
        run(PRETRAINING, "train", pretrained_weights=str(earlier), **settings)
