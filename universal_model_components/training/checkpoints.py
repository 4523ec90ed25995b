# SPDX-License-Identifier: Apache-2.0
"""A checkpoint from which an interrupted run resumes, with the same result as an uninterrupted one, bit for bit on CPU.

All random sampling of a run is a function of seed and step; the rest of its state is in the objects that are named
here, and in the random number generators. The file is written atomically.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events

from ..utils.files import write_atomically
from ..utils.settings import plain, to_bool

logger = logging.getLogger(__name__)

# settings that may change on resuming: length, reports, data loading, and the initial weights
CHANGEABLE = (
    *("epochs", "val_interval", "early_stopping_patience", "image_interval", "overlap"),
    *("alarm_patience", "probe_interval", "probe_patience"),
    *("num_workers", "cache_rate", "pretrained_weights", "resume"),
)


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
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))


class TrainingCheckpoint:
    """Save a run's whole state after every epoch, and every `interval` steps; load it when the run is resumed.

    Attach it to the trainer last, so that an epoch's validation and schedules are in the checkpoint. Any of MONAI's
    trainers works; its loss scaler is in the checkpoint where it has one.

    Args:
        ckpt_dir: where checkpoint.pt goes, replaced each time.
        objects: name → object with `state_dict` and `load_state_dict`; the trainer itself is added, and the random
            number generators.
        settings: of the run; those not in `CHANGEABLE` must be the same in the run that resumes.
        resume: continue from the checkpoint; where there is none, start from zero and log it.
        interval: steps between checkpoints within an epoch; 0 is none.

    Raises:
        ValueError: on resuming with other settings, or from a file that is not such a checkpoint; when `resume` is not
            a boolean.
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
        self.settings = {name: plain(value) for name, value in (settings or {}).items() if name not in CHANGEABLE}
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
        state: dict[str, Any] = {name: thing.state_dict() for name, thing in self._everything(engine).items()}
        state["settings"] = self.settings
        if idist.get_rank() == 0:
            write_atomically(self.file, lambda path: torch.save(state, path))

    def _load(self, engine: Any) -> None:
        if not self.resume:
            return
        if not self.file.is_file():
            logger.warning("resume: no checkpoint at %s, starting from zero", self.file)
            return
        try:
            state = torch.load(self.file, map_location=engine.state.device, weights_only=True)
        except Exception as error:
            raise ValueError(f"resume: {self.file} is not a readable checkpoint ({type(error).__name__})") from error
        things = self._everything(engine)
        missing = sorted(set(things) - set(state))
        if missing:
            raise ValueError(f"resume: {self.file} has no {missing}, expected a checkpoint of this training")
        for name, value in self.settings.items():
            if state["settings"].get(name) != value:
                raise ValueError(
                    f"resume: {self.file} was written with {name}={state['settings'].get(name)!r}, this run has "
                    f"{value!r}; use the same, or --resume false to start again"
                )
        max_epochs = engine.state.max_epochs  # a resumed run may be longer than the first was planned to be
        for name, thing in things.items():
            thing.load_state_dict(state[name])
        engine.state.max_epochs = max_epochs
        logger.info("resume: continuing from %s at step %d", self.file, engine.state.iteration)
