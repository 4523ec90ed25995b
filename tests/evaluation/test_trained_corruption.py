# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
from conftest import REPOSITORY
from monai.bundle import ConfigParser
from torch import nn

from universal_model_components.evaluation.trained_corruption import (
    decreasing_share,
    mask_share,
    mask_side,
    trained_corruption,
)
from universal_model_components.method.genesis import GenesisCorruption
from universal_model_components.weights.provenance import complete, write_weights


@pytest.mark.parametrize(
    ("stated", "logged"),
    [
        [{"paint": 0.25, "mask": 0.5}, "paint 0.25 instead of 0.9, mask 0.5 instead of 0.0"],
        [{"flip": 0.4}, ": the same"],
        [None, "does not state its own: 'overall' is this run's"],
    ],
)
def test_the_weights_say_what_was_trained(stated, logged, tmp_path, caplog):
    state = nn.Linear(2, 2).state_dict()
    write_weights(tmp_path / "model.pt", state, complete({"corruption": stated} if stated else {}, state))
    given = GenesisCorruption()
    with caplog.at_level(logging.INFO):
        found = trained_corruption(str(tmp_path / "model.pt"), given)
    assert vars(found) == {**vars(given), **(stated or {})}
    (line,) = [record.getMessage() for record in caplog.records if "corruption" in record.getMessage()]
    assert logged in line


@pytest.mark.parametrize(
    ("corruption", "share"),
    [[GenesisCorruption(), 0.5], [GenesisCorruption(decreasing=0.0), 0.0], [nn.Identity(), 0.5]],
)
def test_maps_alone_decrease_as_often_as_in_the_mix(corruption, share):
    parser = ConfigParser()
    configs = REPOSITORY / "bundles" / "universal_model_pretraining" / "configs"
    parser.read_config([str(configs / name) for name in ("train.json", "evaluate.json")])
    parser.update({"kinds::overall": corruption})
    assert parser.get_parsed_content("kinds::nonlinear").decreasing == decreasing_share(corruption) == share


def test_another_kind_of_corruption_is_refused(tmp_path):
    state = nn.Linear(2, 2).state_dict()
    write_weights(tmp_path / "model.pt", state, complete({"corruption": {"swaps": 3}}, state))
    with pytest.raises(ValueError, match=r"model\.pt was trained with one that has 'swaps', which GenesisCorruption"):
        trained_corruption(str(tmp_path / "model.pt"), GenesisCorruption())


def test_a_corruption_without_masking_masks_nothing():
    assert mask_share(GenesisCorruption(mask=0.6)) == 0.6
    assert mask_share(GenesisCorruption()) == mask_share(object()) == 0
    assert (mask_side(GenesisCorruption(mask_side=4)), mask_side(object())) == (4, 1)
