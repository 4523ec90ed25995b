# SPDX-License-Identifier: Apache-2.0
"""The pre-training trainer and the optimizer's parameter groups (paper IV-B.2, Eq. 4).

It is MONAI's `Trainer` with one optimizer and one backward pass for E, G, D and S; gradient reversal inside the network
implements the two-player game. Corruption happens in `prepare_batch`, on the device, one batch at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer, Workflow
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from torch import nn

PARTS = {
    "unet": ("encoder", "decoder"),
    "scale_classifier": ("scale_classifier",),
    "discriminator": ("discriminator",),
    "classifier": ("classifier",),  # of a pretext task
}


def parameter_groups(network: nn.Module, learning_rate: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the optimizer's named groups, one for each part that the network has (paper IV-B.2).

    Args:
        network: a `UniversalModel`, or a pretext task's network: an encoder and a classifier.
        learning_rate: rate of each part: "unet" (E and G), "scale_classifier" (S), "discriminator" (D), "classifier".

    Raises:
        ValueError: when a part has no rate, or a rate names an unknown part.
    """
    unknown = sorted(set(learning_rate) - set(PARTS))
    if unknown:
        raise ValueError(f"learning_rate names {unknown}, expected {list(PARTS)}")
    groups = []
    for part, prefixes in PARTS.items():
        modules = [module for prefix in prefixes if (module := getattr(network, prefix, None)) is not None]
        if not modules:
            continue
        if part not in learning_rate:
            raise ValueError(f"learning_rate has no entry {part!r}, got {dict(learning_rate)}")
        parameters = [parameter for module in modules for parameter in module.parameters()]
        groups.append({"params": parameters, "lr": float(learning_rate[part]), "name": part})
    return groups


class PretrainingTrainer(SupervisedTrainer):
    """Train every part of a `UniversalModel` with one backward pass per batch (Eq. 4).

    Args:
        device: where to compute.
        max_epochs: epochs to run.
        train_data_loader: batches.
        network: returns a dict of logits.
        optimizer: one optimizer for all parts.
        loss_function: (logits, targets) → dict of losses; "loss" is minimized, the others are logged.
        prepare_batch: (batch, device, non_blocking) → (corrupted cubes, targets).
        inferer: how the network is called; plain by default.
        train_handlers: Ignite handlers.
        amp: mixed precision, with loss scaling when `amp_dtype` is float16 on CUDA.
        amp_dtype: "bfloat16" or "float16".
        accumulation_steps: batches whose gradients are averaged for one step of the optimizer; the last step of an
            epoch may average fewer.
        gradient_clip: maximum norm of the gradient over all parts; 0 disables clipping.
        freeze_normalization: batch norms use their running statistics and do not update them.
        part: whose logits and targets are the output's "pred" and "label".
        kwargs: further arguments of `monai.engines.SupervisedTrainer`.

    The output of an iteration, decollated, has "image" (corrupted), "label" (original), "pred" (restoration logits),
    "loss", and "loss_<part>" for each part.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: Iterable,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: Callable[[Mapping, Mapping], dict[str, torch.Tensor]],
        prepare_batch: Callable,
        inferer: Inferer | None = None,
        train_handlers: Sequence | None = None,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        accumulation_steps: int = 1,
        gradient_clip: float = 0.0,
        freeze_normalization: bool = False,
        part: str = "restoration",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=int(max_epochs),
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            prepare_batch=prepare_batch,
            inferer=inferer,
            train_handlers=train_handlers,
            amp=amp,
            **kwargs,
        )
        self.amp_dtype = getattr(torch, amp_dtype)
        self.accumulation_steps = accumulation_steps
        self.gradient_clip = gradient_clip
        self.freeze_normalization = freeze_normalization
        self.part = part
        scaled = amp and self.amp_dtype == torch.float16
        self.scaler: Any = torch.amp.GradScaler(self.state.device.type, enabled=scaled)

    def run(self) -> None:  # type: ignore[override]
        """Train; unlike MONAI's, which makes a new loss scaler each time, keep the one that there is."""
        Workflow.run(self)

    @property
    def between_steps(self) -> bool:
        """Whether the optimizer has just stepped, so that no gradient is pending."""
        done = self.state.iteration % self.state.epoch_length  # batches of this epoch that are done
        return done == 0 or done % self.accumulation_steps == 0

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Corrupt, compute the losses and their gradients, and step when enough batches are accumulated."""
        image, targets = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        self.network.train()
        if self.freeze_normalization:
            _freeze_normalization(self.network)
        before = (self.state.iteration - 1) % self.state.epoch_length  # batches of this epoch before this one
        place = before % self.accumulation_steps
        together = min(self.accumulation_steps, self.state.epoch_length - (before - place))
        if place == 0:
            self.optimizer.zero_grad(set_to_none=True)
        self.state.output = {"image": image, "label": targets[self.part]}
        with self._gradients_shared(self.between_steps):
            with torch.autocast(self.state.device.type, dtype=self.amp_dtype, enabled=self.amp):
                logits = self.inferer(image, self.network)
            self.state.output["pred"] = logits[self.part]
            self.fire_event(IterationEvents.FORWARD_COMPLETED)
            losses = self.loss_function(logits, targets)
            for name, value in losses.items():
                self.state.output["loss" if name == "loss" else f"loss_{name}"] = value.detach()
            self.fire_event(IterationEvents.LOSS_COMPLETED)
            self.scaler.scale(losses["loss"] / together).backward()
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.between_steps:
            self._step()
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _gradients_shared(self, share: bool) -> contextlib.AbstractContextManager:
        """Let DistributedDataParallel average gradients only where the optimizer steps."""
        no_sync = getattr(self.network, "no_sync", None)
        return contextlib.nullcontext() if share or no_sync is None else no_sync()

    def _step(self) -> None:
        if self.gradient_clip > 0:
            self.scaler.unscale_(self.optimizer)
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def _freeze_normalization(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
