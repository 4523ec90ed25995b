# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import ignite.distributed as idist
import pytest
import torch
from trainers import WIDTH, make_evaluator

from universal_model_components.method.models import UniversalModel
from universal_model_components.training.metrics import (
    PredictedClasses,
    at_least_as_good,
    constant_error,
    input_and_target,
    lower_is_better,
    read_metric,
)


@pytest.mark.parametrize(("current", "best", "better"), [(0.4, 0.5, False), (0.5, 0.5, True), (0.6, 0.5, True)])
def test_of_equal_scores_the_later_wins(current, best, better):
    assert at_least_as_good(current, best) is better
    assert lower_is_better(current, best) is (current < best)


def test_a_metric_of_a_validator_is_read():
    validator = make_evaluator(UniversalModel(features=WIDTH, outputs="all"))
    validator.run(1)
    assert read_metric("val_restoration")(validator) == validator.state.metrics["val_restoration"]


def test_the_best_constant_is_each_cube_s_own_mean(generator):
    cubes = torch.rand(3, 1, 4, 4, 4, generator=generator) + torch.tensor([0.0, 5.0, 9.0]).view(3, 1, 1, 1, 1)
    by_hand = sum(float(((cube - cube.mean()) ** 2).mean()) for cube in cubes) / 3
    assert float(constant_error(torch.zeros_like(cubes), cubes)) == pytest.approx(by_hand, rel=1e-5)


LOGITS = torch.tensor([[2.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 1.0, 5.0]])


def predicted_classes(*batches):
    metric = PredictedClasses(3)
    for batch in batches:
        metric.update(batch)
    return metric.compute()


def test_predicted_classes_are_counted():
    assert predicted_classes((LOGITS, torch.tensor([0, 1, 2]))) == 2
    assert predicted_classes((LOGITS[:1], torch.tensor([0])), (LOGITS[1:2], torch.tensor([1]))) == 1
    assert math.isnan(predicted_classes((LOGITS, torch.tensor([1, 1, 1]))))


def _count_in_a_process(rank, folder):
    shares = [slice(0, 2), slice(2, 3)]  # of different sizes
    count = predicted_classes((LOGITS[shares[rank]], torch.tensor([0, 1, 2])[shares[rank]]))
    (folder / str(rank)).write_text(str(count))


def test_processes_count_together_with_unequal_shares(tmp_path):
    meet = {"init_method": f"file://{tmp_path / 'meeting'}"}
    idist.spawn("gloo", _count_in_a_process, (tmp_path,), nproc_per_node=2, **meet)
    assert [float((tmp_path / str(rank)).read_text()) for rank in range(2)] == [2, 2]


def test_corrupted_cubes_and_originals_are_taken_from_the_output():
    image, target = torch.zeros(1), torch.ones(1)
    assert input_and_target({"image": image, "label": {"restoration": target}}) == (image, target)
