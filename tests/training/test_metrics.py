# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from trainers import WIDTH, make_evaluator

from universal_model_components.method.models import UniversalModel
from universal_model_components.training.metrics import at_least_as_good, lower_is_better, read_metric


@pytest.mark.parametrize(("current", "best", "better"), [(0.4, 0.5, False), (0.5, 0.5, True), (0.6, 0.5, True)])
def test_of_equal_scores_the_later_wins(current, best, better):
    assert at_least_as_good(current, best) is better
    assert lower_is_better(current, best) is (current < best)


def test_a_metric_of_a_validator_is_read():
    validator = make_evaluator(UniversalModel(features=WIDTH, outputs="all"))
    validator.run(1)
    assert read_metric("val_restoration")(validator) == validator.state.metrics["val_restoration"]
