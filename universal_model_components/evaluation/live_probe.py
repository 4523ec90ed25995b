# SPDX-License-Identifier: Apache-2.0
"""A linear read-out of the encoder's features, voxel by voxel, while pre-training runs: are they worth loading?

A logistic regression on the frozen features of a few labeled scans predicts foreground in other scans, beside the same
read-out of an untrained encoder. Pre-training sees no label: nothing flows back from the probe.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.transforms import Compose, RandCropByPosNegLabeld, SpatialPadd
from torch import Tensor, nn
from torch.nn import functional

from ..imaging.transforms import NormalizeScand, ReadScand
from ..tasks.segmentation_data import read_cases
from ..utils.settings import to_optional

logger = logging.getLogger(__name__)

PATCHES = 4  # of each scan
VOXELS = 1000  # of each training patch and class, at most


@torch.no_grad()
def voxel_features(encoder: nn.Module, patch: Tensor) -> Tensor:
    """Return the encoder's levels at every voxel, by linear interpolation.

    Shape:
        patch (1, 1, H, W, D) → (H * W * D, sum of the levels' channels), float32.
    """
    shape = patch.shape[2:]
    levels = [functional.interpolate(level.float(), shape, mode="trilinear") for level in encoder(patch)]
    return torch.cat(levels, 1)[0].flatten(1).T


def untrained(encoder: nn.Module, seed: int) -> nn.Module:
    """Return a copy with new weights, which normalizes each patch by its own statistics: it has no others."""
    device = next(encoder.parameters()).device
    fresh = copy.deepcopy(encoder).cpu().train()  # drawn on the CPU: the same on every device
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # manual_seed seeds every GPU
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh.to(device)


def read_out(
    encoder: nn.Module, training: Sequence[Mapping[str, Tensor]], held_out: Sequence[Mapping[str, Tensor]]
) -> float:
    """Train the linear read-out on some patches and return its area under the ROC curve on others.

    Args:
        encoder: as it should be called, on the device of the patches.
        training: "image" and "label", (1, H, W, D) each, sides divisible by the encoder's.
        held_out: likewise, with foreground and background.
    """
    from sklearn.linear_model import LogisticRegression  # a second
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    features, labels = [], []
    for patch in training:
        values, truth = _values(encoder, patch)
        for label in (False, True):
            chosen = random.permutation(np.flatnonzero(truth == label))[:VOXELS]
            features.append(values[chosen])
            labels.append(truth[chosen])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=500))
    probe.fit(np.concatenate(features), np.concatenate(labels))
    scores, truths = [], []
    for patch in held_out:
        values, truth = _values(encoder, patch)
        scores.append(probe.decision_function(values))
        truths.append(truth)
    return float(roc_auc_score(np.concatenate(truths), np.concatenate(scores)))


def _values(encoder: nn.Module, patch: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    device = next(encoder.parameters()).device
    image = torch.as_tensor(patch["image"]).as_subclass(Tensor)[None].to(device)
    return voxel_features(encoder, image).cpu().numpy(), np.asarray(patch["label"]).ravel() > 0


class FeatureProbe:
    """Every `interval` epochs, the read-out's AUC: `probe_auc` and `probe_auc_untrained` in the trainer's metrics.

    They are columns of losses.csv (attach the recorder later), empty in epochs without a read-out, and curves in
    TensorBoard.

    Args:
        network: with an `encoder`; not wrapped, not compiled.
        recipe: of the cubes; the scans are normalized as they were, and the patches have a cube's size.
        interval: epochs between read-outs; 0 is off.
        datalist: JSON with "training" and "validation" lists of images and masks; some five scans each are enough.
        dataset_dir: folder that its paths are relative to.
        modality: of these scans.
        seed: of the patches and of the untrained encoder.
        writer: TensorBoard's, or None.

    Raises:
        ValueError: on start, when `interval` is positive and the datalist is missing, or it or a scan cannot be used.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Mapping[str, Any],
        interval: int = 0,
        datalist: str | None = None,
        dataset_dir: str | None = None,
        modality: str = "mri",
        seed: int = 0,
        writer: Any = None,
    ) -> None:
        self.network, self.recipe, self.interval = network, recipe, int(interval)
        self.datalist, self.dataset_dir, self.modality = to_optional(datalist), to_optional(dataset_dir), modality
        self.seed, self.writer = int(seed), writer
        self.patches: dict[str, list[Any]] = {}
        self.reference = 0.0

    def attach(self, engine: Any) -> None:
        """Read the features out at the end of the epochs of `engine`, a trainer."""
        if self.interval <= 0:
            return
        engine.add_event_handler(Events.STARTED, self.read)
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Any) -> None:
        """Read out the features as they are now."""
        value = 0.0
        if idist.get_rank() == 0:
            training = self.network.training
            value = read_out(self.network.encoder.eval(), **self.patches)  # type: ignore[union-attr]
            self.network.train(training)
            logger.info(
                "probe after epoch %d: foreground is read from the features with AUC %.3f, from an untrained encoder's "
                "with %.3f",
                engine.state.epoch,
                value,
                self.reference,
            )
        value = float(idist.broadcast(value, src=0))  # type: ignore[arg-type]
        engine.state.metrics |= {"probe_auc": value, "probe_auc_untrained": self.reference}
        if self.writer is not None:
            self.writer.add_scalars("probe", {"auc": value, "untrained": self.reference}, engine.state.iteration)

    def _forget(self, engine: Any) -> None:
        """Remove the last read-out from the metrics: an epoch without one has no value, resumed or not."""
        for name in ("probe_auc", "probe_auc_untrained"):
            engine.state.metrics.pop(name, None)

    def read(self) -> None:
        """Read the scans, cut the patches, and read out the untrained encoder."""
        if self.datalist is None or self.dataset_dir is None:
            raise ValueError("probe_interval: a probe needs labeled scans: give probe_data::datalist and dataset_dir")
        if self.modality not in self.recipe["intensity_range"]:
            known = sorted(self.recipe["intensity_range"])
            raise ValueError(f"probe_data::modality: {self.modality!r} is none of the cubes' {known}")
        window, scale = (self.recipe[key][self.modality] for key in ("intensity_range", "intensity_scale"))
        keys, shape = ["image", "label"], list(self.recipe["patch_size"])
        steps = [
            ReadScand(keys),
            NormalizeScand("image", window, scale, self.recipe["spacing"], "label"),
            SpatialPadd(keys, shape),
            RandCropByPosNegLabeld(keys, "label", shape, num_samples=PATCHES, allow_smaller=False),
        ]
        # not the crop's: `Compose` seeds its transforms anew when it is made
        prepare = Compose(steps).set_random_state(self.seed)
        for name, split in (("training", "training"), ("held_out", "validation")):
            cases = read_cases(self.datalist, self.dataset_dir, split)
            self.patches[name] = [patch for case in cases for patch in prepare(case)]
            if len({bool(value) for patch in self.patches[name] for value in (patch["label"] > 0).unique()}) < 2:
                raise ValueError(
                    f"probe_data::datalist: the masks of {split!r} are all foreground or all background: give others"
                )
        self.reference = read_out(untrained(self.network.encoder, self.seed), **self.patches)  # type: ignore[arg-type]
