# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on a CPU: the networks of the target tasks compute in bfloat16; on a GPU MONAI's `amp` is float16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

from ..utils.settings import to_bool


class MixedPrecisionInferer(SimpleInferer):
    """`SimpleInferer` that calls the network under bfloat16 autocast where the inputs are on a CPU.

    MONAI's `SupervisedTrainer` opens autocast for CUDA alone, so with `amp` a training on a CPU would stay in float32.
    bfloat16 has float32's range: no loss scaling. About twice as fast on CPUs with AMX, slower on others, among them
    those with AVX-512 BF16 alone. PyTorch 2.13's gradients of a 3D convolution's weights are wrong there where the
    input's first side has 2 voxels, which `check_settings` refuses.

    Args:
        amp: use bfloat16 on a CPU; the inputs of other devices are left to MONAI.
    """

    def __init__(self, amp: bool | str = False) -> None:
        super().__init__()
        self.amp = to_bool(amp, "amp")

    def __call__(self, inputs: Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Return the network's outputs, in float32 where they were computed in bfloat16, for an exact loss."""
        if not self.amp or inputs.device.type != "cpu":
            return super().__call__(inputs, network, *args, **kwargs)
        with torch.autocast("cpu", torch.bfloat16):
            return super().__call__(inputs, network, *args, **kwargs).float()
