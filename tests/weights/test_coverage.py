# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from universal_model_components.weights.coverage import (
    Coverage,
    Part,
    is_one_of,
    least_shares,
    match_state,
    part_of,
    same_kind,
)


def state(**shapes):
    return {name.replace("__", "."): torch.ones(shape) for name, shape in shapes.items()}


OWN = state(encoder__a=(4, 1, 3), encoder__b=(4,), decoder__head__weight=(2,), classifier__w=(5,))


def test_tensors_are_matched_by_name_and_shape_and_counted_by_part():
    given = state(encoder__a=(4, 1, 3), encoder__b=(6,), decoder__head__weight=(2,), discriminator__w=(3,))
    chosen, report = match_state(OWN, given, "model.pt", new_heads=["decoder.head"])
    assert list(chosen) == ["encoder.a"]
    encoder = report["encoder"]
    assert isinstance(encoder, Part)
    assert (encoder.loaded, encoder.other_shape, encoder.missing) == (1, 1, 0)
    assert encoder.share == pytest.approx(12 / 16)
    assert encoder.first == "encoder.b [4] is [6] in it"
    assert (report["decoder"].new, report["decoder"].share) == (1, None)
    assert report["classifier"].missing == 1
    assert report["classifier"].first == "classifier.w [5] is not in it"
    assert report["discriminator"].unexpected == 1


def test_the_report_is_a_table_of_parts():
    report = Coverage("model.pt", {"encoder": Part("encoder", loaded=2, values_loaded=3, values=4), "new": Part("new")})
    lines = str(report).splitlines()
    assert lines[0] == "weights from model.pt, in tensors:"
    assert lines[2].split() == ["encoder", "2", "0", "0", "0", "0", "0", "75.0%"]
    assert lines[3].split()[-1] == "-"


def test_a_part_is_the_first_segment_of_a_name():
    assert part_of("encoder.levels.0.conv1.weight") == "encoder"
    assert part_of("alone") == "alone"


def test_a_layer_is_named_up_to_a_dot():
    assert is_one_of("decoder.head.weight", ["classifier", "decoder.head"])
    assert not is_one_of("decoder.header.weight", ["decoder.head"])


def test_the_least_shares_by_part():
    _, report = match_state(OWN, OWN, "model.pt")
    assert least_shares(report, 0.5) == {"encoder": 0.5, "decoder": 0.5, "classifier": 0.5}
    assert least_shares(report, {"encoder": 1}) == {"encoder": 1.0}
    with pytest.raises(ValueError, match="minimum_coverage: 'all' is not a share"):
        least_shares(report, "all")


def test_whole_numbers_fill_no_weight_and_weights_no_counter():
    assert same_kind(torch.ones(1), torch.ones(1).half())
    assert not same_kind(torch.ones(1), torch.tensor([1]))
    given = {"encoder.a": torch.ones(4, 1, 3, dtype=torch.int8), "encoder.b": torch.ones(4).half()}
    chosen, report = match_state(OWN, given, "model.pt")
    assert list(chosen) == ["encoder.b"]
    assert report["encoder"].first == "encoder.a [4, 1, 3] is [4, 1, 3] int8 in it"
