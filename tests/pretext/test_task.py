# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from universal_model_components.pretext.task import PretextTask


class Parity(PretextTask):
    """Is a cube's seed odd? Odd cubes are negated."""

    name, num_classes = "parity", 2

    def apply(self, cubes, seeds):
        labels = seeds % 2
        return cubes * (1 - 2 * labels).view(-1, 1, 1, 1, 1), labels


def test_a_task_is_applied_to_a_batch_by_its_seeds(generator):
    cubes = torch.rand(3, 1, 4, 4, 4, generator=generator)
    image, targets = Parity().prepare_batch({"image": cubes, "seed": torch.tensor([4, 5, 6])}, torch.device("cpu"))
    assert targets.keys() == {"parity"}
    assert targets["parity"].tolist() == [0, 1, 0]
    assert torch.equal(image, torch.stack([cubes[0], -cubes[1], cubes[2]]))
    assert len(Parity().prepare_batch({"image": cubes})[1]["parity"]) == 3


def test_a_task_says_what_it_does_to_cubes():
    with pytest.raises(TypeError, match="apply"):
        PretextTask()
