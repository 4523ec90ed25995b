# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning: parameter groups of a task's network, and their learning rate schedules.

The paper trains everything from the first step with Adam at 0.001 ("constant"). The other schedules are for
fine-tuning that keeps what pre-training learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..utils.settings import to_optional
from ..weights.coverage import is_one_of, part_of
from ..weights.transfer import new_parts

SCHEDULES = ("constant", "warmup", "sawtooth")
NEW = "new"  # the group of all parameters that were not loaded; those that were are named by their part


def fine_tuning_groups(
    network: nn.Module,
    learning_rate: float | Mapping[str, float],
    pretrained_weights: Any = None,
    transfer: str | None = None,
    schedule: str = "constant",
) -> list[dict[str, Any]]:
    """Return the parameter groups of an optimizer that fine-tunes a network.

    Groups are "encoder" and "decoder", as far as they are loaded, and "new": heads, a part that `transfer` leaves
    out, or, from scratch, everything. One rate for all, in a schedule that treats all groups the same, is one group
    without a name.

    Args:
        network: a task's network, with parts named as in `UniversalModel`; not wrapped, not compiled.
        learning_rate: the peak rate, or a mapping with a rate for "loaded" and one for "new" parameters; 0 freezes.
        pretrained_weights: as for `load_pretrained`; None or "null" is from scratch.
        transfer: as for `load_pretrained`.
        schedule: one of `SCHEDULES`.

    Raises:
        ValueError: when a rate is missing or unknown, or as `transfer.new_parts`.
    """
    by_part = isinstance(learning_rate, Mapping)
    rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else dict.fromkeys(("loaded", NEW), learning_rate)
    if set(rates) != {"loaded", NEW}:
        raise ValueError(f"learning_rate: {rates} is not a number, or one for each of 'loaded' and 'new'")
    if not by_part and schedule != "sawtooth":
        return [{"params": list(network.parameters()), "lr": float(rates[NEW])}]
    new, from_scratch = new_parts(network, transfer), to_optional(pretrained_weights) is None
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        group = NEW if from_scratch or is_one_of(name, new) else part_of(name)
        rate = float(rates[NEW if group == NEW else "loaded"])
        groups.setdefault(group, {"params": [], "lr": rate, "name": group})["params"].append(parameter)
    return list(groups.values())


def schedule_factor(schedule: str, shares: Mapping[str, float], progress: float, group: str | None = None) -> float:
    """Return a parameter group's learning rate as a share of its peak.

    "constant" is 1. "warmup" rises linearly over the share `warmup` of the steps, then falls to 0 by cosine annealing.
    "sawtooth" first trains all but a loaded encoder: over the share `head` of the steps their rate rises linearly and
    falls again, and the encoder's is 0; in the rest of the steps everything follows "warmup".

    Args:
        schedule: one of `SCHEDULES`.
        shares: "head" and "warmup", shares of all steps.
        progress: share of the steps that are done, 0 to 1; above 1, the final factor.
        group: name of the parameter group.

    Returns:
        0 to 1.
    """
    if schedule == "constant":
        return 1.0
    head = shares["head"] if schedule == "sawtooth" else 0.0
    if progress < head:
        return 0.0 if group == "encoder" else 1 - abs(2 * progress / head - 1)
    since, warmup = progress - head, shares["warmup"]
    if since < warmup:
        return since / warmup
    return (1 + math.cos(math.pi * min(1.0, (since - warmup) / (1 - head - warmup)))) / 2


class FineTuningSchedule(LambdaLR):
    """The learning rate of every parameter group at every step: `schedule_factor` in the middle of the step.

    Args:
        optimizer: with the groups of `fine_tuning_groups`.
        schedule: one of `SCHEDULES`.
        shares: see `schedule_factor`.
        steps: of the whole training.

    Raises:
        ValueError: when `schedule` is unknown.
    """

    def __init__(self, optimizer: Optimizer, schedule: str, shares: Mapping[str, float], steps: int) -> None:
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule: {schedule!r} is not one of {list(SCHEDULES)}")
        self.schedule, self.shares, self.steps = schedule, dict(shares), steps
        groups = [group.get("name") for group in optimizer.param_groups]
        super().__init__(optimizer, [partial(self._factor, group) for group in groups])

    def _factor(self, group: str | None, step: int) -> float:
        return schedule_factor(self.schedule, self.shares, (step + 0.5) / self.steps, group)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that a resumed run must share: the groups and, with a schedule other than "constant", its length."""
        groups = [group.get("name") for group in self.optimizer.param_groups]
        if self.schedule == "constant":
            return {"name": self.schedule, "groups": groups}
        return {"name": self.schedule, "shares": self.shares, "steps": self.steps, "groups": groups}
