# SPDX-License-Identifier: Apache-2.0
"""Pre-training in miniature: cubes in memory, a corruption by seed, and the trainer of a tiny network."""

from __future__ import annotations

import torch
from ignite.metrics import Loss
from monai.engines import SupervisedEvaluator
from torch.utils.data import DataLoader, Dataset

from universal_model_components.method.losses import UniversalObjective, restoration_loss
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.trainer import PretrainingTrainer, parameter_groups
from universal_model_components.training.metrics import logits_and_targets, lower_is_better
from universal_model_components.training.sampling import BalancedBatchSampler, SamplerStep

WIDTH = [4, 8, 16, 32]


RATES = {"unet": 0.1, "scale_classifier": 0.05, "discriminator": 0.001}


class TensorCubes(Dataset):
    """Cubes in memory, with the items of the store's dataset."""

    def __init__(self, count=12, side=16, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.cubes = torch.rand(count, 1, side, side, side, generator=generator)
        self.modality_labels = torch.arange(count) % 2

    def __len__(self):
        return len(self.cubes)

    def __getitem__(self, key):
        index, seed = key if isinstance(key, tuple) else (key, key)
        label = int(self.modality_labels[index])
        return {"image": self.cubes[index], "modality": label, "scale": index % 3, "seed": seed}


def add_noise(batch, device, non_blocking=False):
    """A corruption by seed, one cube at a time."""
    cubes = batch["image"].to(device)
    noise = [torch.rand(cubes.shape[1:], generator=torch.Generator().manual_seed(int(s))) for s in batch["seed"]]
    targets = {"restoration": cubes, "modality": batch["modality"].to(device), "scale": batch["scale"].to(device)}
    return (cubes + torch.stack(noise)) / 2, targets


def make_trainer(epochs=1, batch_size=4, handlers=(), rates=RATES, side=16, network=None, **kwargs):
    torch.manual_seed(0)
    network = UniversalModel(features=WIDTH, outputs="all") if network is None else network
    data = TensorCubes(side=side)
    loader = DataLoader(data, batch_sampler=BalancedBatchSampler(data.modality_labels, batch_size))
    return PretrainingTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.SGD(parameter_groups(network, rates), momentum=0.9),
        loss_function=UniversalObjective(),
        prepare_batch=add_noise,
        train_handlers=[SamplerStep(), *handlers],
        **kwargs,
    )


def make_evaluator(network, handlers=()):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(TensorCubes(6, seed=1), batch_size=4),
        network=network,
        prepare_batch=add_noise,
        key_val_metric={"val_restoration": Loss(restoration_loss, logits_and_targets("restoration"))},
        metric_cmp_fn=lower_is_better,
        val_handlers=list(handlers),
        decollate=False,
    )


def state(trainer):
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **(tolerance or {"rtol": 0, "atol": 0}))
