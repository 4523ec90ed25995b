# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
from torch import nn

from universal_model_components.evaluation.trained_corruption import trained_corruption
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


def test_another_kind_of_corruption_is_refused(tmp_path):
    state = nn.Linear(2, 2).state_dict()
    write_weights(tmp_path / "model.pt", state, complete({"corruption": {"swaps": 3}}, state))
    with pytest.raises(ValueError, match=r"model\.pt was trained with one that has 'swaps', which GenesisCorruption"):
        trained_corruption(str(tmp_path / "model.pt"), GenesisCorruption())
