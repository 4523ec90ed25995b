# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from universal_model_components.method.models import ClassificationModel, SegmentationModel
from universal_model_components.tasks.settings import CHOICES
from universal_model_components.weights.transfer import NEW_HEADS, TRANSFERS, new_parts

FEATURES = [4, 8]


@pytest.mark.parametrize(
    ("network", "transfer", "expected"),
    [
        [SegmentationModel, None, NEW_HEADS],
        [SegmentationModel, "encoder+decoder", NEW_HEADS],
        [SegmentationModel, "encoder", (*NEW_HEADS, "decoder")],
        [ClassificationModel, "encoder", NEW_HEADS],
    ],
)
def test_which_parts_start_from_random_weights(network, transfer, expected):
    assert new_parts(network(features=FEATURES), transfer) == expected


def test_heads_of_ones_own():
    assert new_parts(SegmentationModel(features=FEATURES), "encoder+decoder", ()) == ()


def test_a_part_that_the_network_lacks_is_named():
    with pytest.raises(ValueError, match=r"^transfer: .* the network has no decoder"):
        new_parts(ClassificationModel(features=FEATURES), "encoder+decoder")


def test_the_checks_know_the_transfers():
    assert set(CHOICES["transfer"]) == set(TRANSFERS)
