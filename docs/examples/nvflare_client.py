# SPDX-License-Identifier: Apache-2.0
"""One hospital of a federation: NVFLARE's client around MONAI's `MonaiAlgo`, which trains an unmodified bundle.

NVFLARE starts it once per site: nvflare_client.py BUNDLE DATA SETTINGS, where DATA/<site> has the site's scans and
datalist.json, and SETTINGS is a JSON file of top-level keys of the bundle's configs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from shutil import copytree

import nvflare.client as flare
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject


def start(bundle: Path, data: Path, settings: dict, site: str, folder: str) -> MonaiAlgo:
    """Start a client on its own copy of the bundle, so that sites on one machine do not share files."""
    copytree(bundle, Path(folder) / bundle.name)
    keys = {**settings, "bundle_root": str(Path(folder) / bundle.name)}
    keys |= {"dataset_dir": str(data / site), "datalist": str(data / site / "datalist.json")}
    client = MonaiAlgo(
        bundle_root=bundle.name,
        local_epochs=1,
        send_weight_diff=False,
        train_kwargs=keys,
        eval_kwargs={**keys, "split": "validation", "trained::weights": None},
    )
    client.initialize(extra={ExtraItems.CLIENT_NAME: site, ExtraItems.APP_ROOT: folder})
    return client


def main(bundle: str, data: str, settings: str) -> None:
    """Evaluate what the server sends, train on it, and send the weights back, round by round."""
    flare.init()
    with tempfile.TemporaryDirectory() as folder:
        client = start(Path(bundle), Path(data), json.loads(Path(settings).read_text()), flare.get_site_name(), folder)
        while flare.is_running():
            received = flare.receive()
            weights = {name: torch.as_tensor(value) for name, value in received.params.items()}
            metrics = client.evaluate(ExchangeObject(weights=dict(weights))).metrics
            client.train(ExchangeObject(weights=dict(weights)))
            sent = {name: tensor.numpy() for name, tensor in client.get_weights().weights.items()}
            numbers = {name: float(value) for name, value in metrics.items()}
            print(f"{flare.get_site_name()} round {received.current_round}: {numbers}", flush=True)
            flare.send(flare.FLModel(params=sent, metrics=numbers))
        client.finalize()


if __name__ == "__main__":
    main(*sys.argv[1:])
