# SPDX-License-Identifier: Apache-2.0
"""A checkpoint from which an interrupted run resumes, with the same result as an uninterrupted one, bit for bit on CPU.

All random sampling of a run is a function of seed and step; the rest of its state is in the objects that are named
here, and in the random number generators. The file is written atomically.
"""

from __future__ import annotations

import logging
import random
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from ..utils.files import write_atomically
from ..utils.settings import to_bool
from ..weights.files import load_pickle
from .identity import differences, run_identity

logger = logging.getLogger(__name__)

ADVICE = "give another ckpt_dir, or start again with --resume false"
SHORT = reprlib.Repr()  # a checkpoint may be a stranger's, with values without end
SHORT.maxstring = SHORT.maxother = 100


class RandomState:
    """The states of PyTorch's, NumPy's and Python's global generators, and of CUDA's where available."""

    def state_dict(self) -> dict[str, Any]:
        """Return every generator's state, as tensors and plain numbers that load with `weights_only=True`."""
        name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  the global generator is intended
        version, internal, gauss = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
            "python": [version, list(internal), gauss],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set every generator."""
        torch.set_rng_state(state["torch"].cpu())
        self._load_cuda([generator.cpu() for generator in state["cuda"]])
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))

    def _load_cuda(self, states: list[torch.Tensor]) -> None:
        if not states or not torch.cuda.is_available():
            return
        if idist.get_world_size() > 1:  # each process has one device, and draws as the first does
            torch.cuda.set_rng_state(states[0])
        elif len(states) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states)
        else:
            counts = len(states), torch.cuda.device_count()
            logger.warning("resume: the checkpoint has random states of %d GPUs, here are %d: they start anew", *counts)


def _is_finite(thing: Any) -> bool:
    """Whether a network's weights are finite; true of anything else."""
    return not isinstance(thing, nn.Module) or all(
        bool(value.isfinite().all()) for value in thing.state_dict().values()
    )


class TrainingCheckpoint:
    """Save a run's whole state after every epoch, and every `interval` steps; load it when the run is resumed.

    Attach it to the trainer last, so that an epoch's validation and schedules are in the checkpoint. Any of MONAI's
    trainers works; its loss scaler is in the checkpoint where it has one.

    Args:
        ckpt_dir: where checkpoint.pt goes, replaced each time.
        objects: name → object with `state_dict` and `load_state_dict`; the trainer itself is added, and the random
            number generators.
        settings: of the run, and its data; with the objects they are its `identity`, which must be the checkpoint's.
        resume: continue from the checkpoint; where there is none, start from zero and log it.
        interval: steps between checkpoints within an epoch; 0 is none.

    Raises:
        FileNotFoundError, ValueError: when there are pre-trained weights that cannot be read.
        ValueError: on resuming with another identity, or from a file that is not such a checkpoint; when `resume` is
            not a boolean.
    """

    def __init__(
        self,
        ckpt_dir: str,
        objects: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        resume: bool | str = False,
        interval: int = 0,
    ) -> None:
        self.file = Path(ckpt_dir) / "checkpoint.pt"
        self.objects = {**objects, "random": RandomState()}
        self.identity = run_identity(settings or {}, objects, ckpt_dir)
        self.resume, self.interval = to_bool(resume, "resume"), interval

    def attach(self, engine: Any) -> None:
        """Load when `engine` starts, and save as it runs."""
        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        if self.interval > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._save_within_epoch)

    def _everything(self, engine: Any) -> dict[str, Any]:
        scaler = getattr(engine, "scaler", None)  # MONAI's trainers make theirs when they run, and only with amp
        return {**self.objects, "trainer": engine} | ({} if scaler is None else {"scaler": scaler})

    def _save_within_epoch(self, engine: Any) -> None:
        # the last step of an epoch waits for the epoch's validation, else a resumed run would miss it
        due = engine.state.iteration % self.interval == 0 and engine.state.iteration % engine.state.epoch_length != 0
        if due and getattr(engine, "between_steps", True):
            self._save(engine)

    def _save(self, engine: Engine) -> None:
        if idist.get_rank() > 0:
            return
        state: dict[str, Any] = {name: thing.state_dict() for name, thing in self._everything(engine).items()}
        state["identity"] = self.identity
        if all(map(_is_finite, self.objects.values())):
            write_atomically(self.file, lambda path: torch.save(state, path))
        else:
            logger.error(
                "%s: not written: the network's weights are not finite, the last checkpoint is kept", self.file
            )

    def _load(self, engine: Any) -> None:
        if not self.resume:
            return
        if not self.file.is_file():
            logger.warning("resume: no checkpoint at %s, starting from zero", self.file)
            return
        state = load_pickle(self.file, "resume", ADVICE)
        things = self._everything(engine)
        if isinstance(state, Mapping) and "scaler" in set(things) - set(state):
            logger.warning("resume: %s has no loss scale, as on a CPU: it starts anew", self.file)
            del things["scaler"]
        missing = sorted(set(things) - set(state)) if isinstance(state, Mapping) else sorted(things)
        if missing:
            raise ValueError(f"resume: {self.file} has no {missing}, expected a checkpoint of this training: {ADVICE}")
        self._check_identity(self._identity_in(state))
        max_epochs = engine.state.max_epochs  # a resumed run may be longer than the first was planned to be
        for name, thing in things.items():
            try:
                thing.load_state_dict(state[name])
            except Exception as error:  # of whatever a foreign or spoilt file holds
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise ValueError(
                    f"resume: {self.file}: the state of {name!r} does not fit ({reason}): {ADVICE}"
                ) from error
        engine.state.max_epochs = max_epochs
        logger.info("resume: continuing from %s at step %d", self.file, engine.state.iteration)

    def _identity_in(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the identity in a checkpoint; an earlier version's states only the settings."""
        identity, settings = state.get("identity"), state.get("settings")
        if isinstance(identity, Mapping):
            unknown = [key for key in self.identity if key not in identity]
            stated = dict(identity)
        else:
            known = settings.items() if isinstance(settings, Mapping) else ()
            # then some were stated otherwise: an optimizer by its name alone
            alike = {k: v for k, v in known if isinstance(v, Mapping) == isinstance(self.identity.get(k), Mapping)}
            stated = {key: value for key, value in alike.items() if key in self.identity}
            unknown = [key for key in self.identity if key not in stated]
        if unknown:
            logger.warning("resume: %s does not state %s: whether they are the same is not checked", self.file, unknown)
        return stated

    def _check_identity(self, there: Mapping[str, Any]) -> None:
        found = list(differences(there, self.identity))
        if not found:
            return
        shown = "; ".join(f"{key}={SHORT.repr(old)}, this run has {SHORT.repr(new)}" for key, old, new in found[:3])
        more = f"; and {len(found) - 3} more" if found[3:] else ""
        keys = ", ".join(key for key, _, _ in found[:3])
        raise ValueError(
            f"resume: {self.file} was written with {shown}{more}: give the same {keys}, or start again with "
            "--resume false"
        )
