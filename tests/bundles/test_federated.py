# SPDX-License-Identifier: Apache-2.0
"""A bundle of each kind is a client of a federation as it stands, by MONAI's `MonaiAlgo`.

`make test-fl` runs this for all bundles, and NVFLARE's simulator.
"""

from __future__ import annotations

import math
import os

import pytest
import torch
from conftest import REPOSITORY
from integration.federated import make_client, one_round, write_data

BUNDLES = sorted(folder.name for folder in (REPOSITORY / "bundles").iterdir() if (folder / "configs").is_dir())
IF_ASKED = ["brats_mri_whole_tumor_segmentation", "left_atrium_mri_segmentation"]  # configs like left_atrium_ct's
CHOSEN = BUNDLES if os.environ.get("UNIVERSAL_MODEL_ALL") else [name for name in BUNDLES if name not in IF_ASKED]
IMAGES = ("features", "batch_statistics", "patch_size", "spacing", "intensity_range", "intensity_scale")
METRICS = {"segmentation": "val_iou", "classification": "val_auc", "pretraining": "val_restoration"}


def test_a_client_evaluates_with_its_own_settings_and_not_those_of_weights_in_the_bundle(tmp_path):
    name = "brats_mri_whole_tumor_segmentation"  # it has a demonstration's weights, of another spacing
    assert (REPOSITORY / "bundles" / name / "models" / "model.pt").is_file()
    client = make_client(REPOSITORY / "bundles" / name, tmp_path, "client", write_data(name, tmp_path / "data", seed=0))
    settings = [flow.parser.get_parsed_content("settings") for flow in (client.train_workflow, client.eval_workflow)]
    assert {key: settings[1][key] for key in IMAGES} == {key: settings[0][key] for key in IMAGES}
    client.finalize()


@pytest.mark.parametrize("name", CHOSEN)
def test_two_clients_average_once(name, bundles, tmp_path, request):
    settings = {}
    clients = []
    for number in range(2):
        folder = tmp_path / f"client_{number}"
        if name.endswith("pretraining"):
            settings = {"cube_store": str(request.getfixturevalue("cube_store"))}
        else:
            settings = write_data(name, folder / "data", seed=number)
        clients.append(make_client(bundles / name, folder, f"client_{number}", settings))
    start = {key: tensor.clone() for key, tensor in clients[0].trainer.network.state_dict().items()}
    sent, mean, metrics = one_round(clients, start)

    weight = next(key for key in start if key.endswith("conv1.weight"))
    if not name.endswith("pretraining"):  # these clients have data of their own
        assert not torch.equal(sent[0][weight], sent[1][weight])
    torch.testing.assert_close(mean[weight], (sent[0][weight] + sent[1][weight]) / 2)
    for client, measured in zip(clients, metrics, strict=True):
        assert not torch.equal(sent[0][weight], start[weight])
        torch.testing.assert_close(client.evaluator.network.state_dict()[weight].cpu(), mean[weight])
        assert math.isfinite(measured[METRICS[name.rsplit("_", 1)[1]]])
        client.finalize()
