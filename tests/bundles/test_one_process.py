# SPDX-License-Identifier: Apache-2.0
"""All bundles in one process, as in a server: each keeps its own network and settings, and leaves the others alone."""

from __future__ import annotations

import sys

import torch
from conftest import REPOSITORY
from integration.copies import open_bundle, with_weights

BUNDLES = sorted(folder.name for folder in (REPOSITORY / "bundles").iterdir() if (folder / "configs").is_dir())


def test_bundles_do_not_shadow_each_other(bundles, tmp_path):
    widths = {name: [4 + 2 * number, 8, 16, 32] for number, name in enumerate(BUNDLES)}
    copies = {name: with_weights(bundles / name, tmp_path, features=widths[name]) for name in BUNDLES}
    path, modules = list(sys.path), set(sys.modules)
    parsers = {name: open_bundle(copy) for name, copy in copies.items()}
    networks = {name: parser.get_parsed_content("network_def").eval() for name, parser in parsers.items()}
    for name in reversed(BUNDLES):  # weights and transforms, in another order than the networks
        networks[name].load_state_dict(torch.load(copies[name] / "models/model.pt", weights_only=True))
        for key in ("preprocessing", "inferer", "postprocessing"):
            parsers[name].get_parsed_content(key)
    for name, network in networks.items():
        assert network.encoder.levels[0].conv2.weight.shape[0] == widths[name][0]
        assert parsers[name]["bundle_root"] == str(copies[name])
        assert parsers[name]["_meta_::name"] == open_bundle(bundles / name)["_meta_::name"]
        kinds = {"segmentation": 1, "classification": 2, "pretraining": 1}
        with torch.no_grad():
            assert network(torch.rand(1, 1, 16, 16, 16)).shape[1] == kinds[name.rsplit("_", 1)[1]]
    assert sys.path == path
    # nothing was imported from a bundle: two of them cannot each bring a module of one name
    files = [getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - modules]
    assert not [file for file in files if str(tmp_path) in file or "/bundles/" in file]


def test_results_do_not_depend_on_which_bundle_came_first(bundles, tmp_path):
    copies = [with_weights(bundles / name, tmp_path, features=[4, 8, 16, 32]) for name in BUNDLES]
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))

    def answer(bundle):
        network = open_bundle(bundle).get_parsed_content("network_def").eval()
        network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
        with torch.no_grad():
            return network(image)

    forward, backward = [answer(bundle) for bundle in copies], [answer(bundle) for bundle in reversed(copies)]
    for one, other in zip(forward, reversed(backward), strict=True):
        assert torch.equal(one, other)
