# SPDX-License-Identifier: Apache-2.0
"""MONAI's sliding window with a network optimized for inference: the same windows and blending in less time.

Batch norms and up-convolutions are folded into adjacent convolutions (`folding`), the memory format is channels-last,
which is faster for CPU convolutions, and PyTorch optionally compiles the rest. The given network is not modified, so
`network_def` can be exported, or weights loaded into it, at any time. `benchmarks/sliding_window.py` measures each
part's speedup.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from ..method.unet import ConvBlock
from ..utils.settings import to_bool
from .folding import fold_normalization, merge_upsampling
from .neighbors import samples_at_a_time

logger = logging.getLogger(__name__)


class FastSlidingWindowInferer(SlidingWindowInferer):
    """`SlidingWindowInferer` that calls an optimized copy of the network, which is kept until the weights change.

    A network in training mode, with forward hooks, scripted or without a `ConvBlock` is called unmodified, and so is
    any network while gradients are enabled.

    Args:
        roi_size: as MONAI's.
        sw_batch_size: windows at a time; with one, PyTorch does not use its fast convolutions in many layers.
        fold: fold batch norms into convolutions.
        merge: merge each transposed convolution with the convolution after it.
        channels_last: use the channels-last memory format.
        compile: also compile the copy (`torch.compile`, weights frozen): takes about a minute for each set of weights,
            and requires a C++ compiler on a CPU. Worthwhile for many scans.
        kwargs: all other arguments of MONAI's `SlidingWindowInferer`.
    """

    def __init__(
        self,
        roi_size: Any,
        sw_batch_size: int = 4,
        fold: bool | str = True,
        merge: bool | str = True,
        channels_last: bool | str = True,
        compile: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(roi_size, sw_batch_size, **kwargs)
        self.fold, self.merge = to_bool(fold, "fold"), to_bool(merge, "merge")
        self.channels_last, self.compile = to_bool(channels_last, "channels_last"), to_bool(compile, "compile")
        self._known: tuple[dict[str, Tensor], Callable] | None = None  # weights, and what was made of them

    def __call__(self, inputs: Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Infer a volume; see MONAI's. Windows go one by one where they would change each other's normalization."""
        size = self.sw_batch_size
        self.sw_batch_size = samples_at_a_time(network, size)
        try:
            return super().__call__(inputs, self.prepare(network), *args, **kwargs)
        finally:
            self.sw_batch_size = size

    def prepare(self, network: Callable) -> Callable:
        """Return what is called in place of the network: a copy with the same outputs, up to rounding."""
        if not isinstance(network, nn.Module) or not _can_be_prepared(network):
            return network
        state = network.state_dict()
        if self._known is None or not _same(state, self._known[0]):
            self._known = {name: tensor.clone() for name, tensor in state.items()}, self._make(network)
        return self._known[1]

    def _make(self, network: nn.Module) -> Callable:
        made = fold_normalization(network) if self.fold else copy.deepcopy(network)
        made = merge_upsampling(made) if self.merge else made
        if self.channels_last:
            made = made.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if not self.compile:
            return made
        logger.info("compiling the network for inference: about a minute, once")
        return _FullBatches(torch.compile(made, dynamic=False, options={"freezing": True}), self.sw_batch_size)


class _FullBatches:
    """Pad the last batch of a volume with zeros: another batch size would trigger a recompilation."""

    def __init__(self, function: Callable, size: int) -> None:
        self.function, self.size = function, size

    def __call__(self, windows: Tensor) -> Tensor:
        missing = self.size - len(windows)
        if missing > 0:
            windows = torch.cat([windows, windows.new_zeros(missing, *windows.shape[1:])])
        return self.function(windows)[: self.size - missing]


def _can_be_prepared(network: nn.Module) -> bool:
    if isinstance(network, torch.jit.ScriptModule) or network.training or torch.is_grad_enabled():
        return False
    parts = list(network.modules())
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    return not hooked and any(isinstance(part, ConvBlock) for part in parts)


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        tensor.device == other[name].device and torch.equal(tensor, other[name]) for name, tensor in one.items()
    )
