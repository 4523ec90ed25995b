# SPDX-License-Identifier: Apache-2.0
"""How many cubes or windows a network may be given at a time, so that no result depends on its neighbors."""

from __future__ import annotations

from typing import Any

from torch import nn


def samples_at_a_time(network: Any, size: int) -> int:
    """Return `size`, or 1 for a network that normalizes by the statistics of what it is given, in evaluation too.

    Args:
        network: a module; anything else, such as an ONNX session, is taken as it is.
        size: as many as are wanted.
    """
    parts = network.modules() if isinstance(network, nn.Module) else ()
    norms = (part for part in parts if isinstance(part, nn.modules.batchnorm._BatchNorm))
    return 1 if any(norm.running_mean is None for norm in norms) else size
