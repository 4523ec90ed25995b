# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from universal_model_components.training.loss_record import learning_rates, loss_values

LOSSES = {"loss": torch.tensor(0.5), "loss_scale": torch.tensor(0.25), "pred": torch.rand(2)}


@pytest.mark.parametrize("output", [LOSSES, [LOSSES, LOSSES], (LOSSES,)])
def test_losses_of_an_output_decollated_or_not(output):
    assert loss_values(output) == {"loss": 0.5, "loss_scale": 0.25}


def test_rates_go_by_the_names_of_the_groups():
    def weight():
        return [torch.nn.Parameter(torch.ones(1))]

    named = [{"params": weight(), "lr": 1.0, "name": "unet"}, {"params": weight(), "name": "discriminator"}]
    assert learning_rates(torch.optim.SGD(named, lr=0.1)) == {"lr_unet": 1.0, "lr_discriminator": 0.1}
    assert learning_rates(torch.optim.Adam(weight(), lr=0.01)) == {"lr": 0.01}
