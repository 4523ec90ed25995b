# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Events
from trainers import RATES, WIDTH, add_noise, assert_same, make_trainer, state

from universal_model_components.method.losses import UniversalObjective
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.trainer import parameter_groups
from universal_model_components.training.run import place_network


def test_groups_are_named_and_hold_every_parameter_once():
    network = UniversalModel(features=WIDTH)
    groups = parameter_groups(network, RATES)
    assert [(group["name"], group["lr"]) for group in groups] == list(RATES.items())
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())


def test_groups_of_an_ablation():
    network = UniversalModel(features=WIDTH, mial=False, scale_classifier=False)
    assert [group["name"] for group in parameter_groups(network, RATES)] == ["unet"]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        [{"unet": 1, "scale_classifier": 1}, "learning_rate has no entry 'discriminator'"],
        [{**RATES, "decoder": 1}, r"learning_rate names \['decoder'\]"],
    ],
)
def test_bad_rates(rates, message):
    with pytest.raises(ValueError, match=message):
        parameter_groups(UniversalModel(features=WIDTH), rates)


def test_training_moves_every_part_and_lowers_the_loss():
    losses = []
    trainer = make_trainer(epochs=12)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output[0]["loss_restoration"])
    )
    before = state(trainer)
    trainer.run()
    after = state(trainer)
    for part in ("encoder", "decoder", "discriminator", "scale_classifier"):
        assert any(not torch.equal(before[n], after[n]) for n in after if n.startswith(part) and n.endswith("weight"))
    assert sum(losses[-3:]) < sum(losses[:3])


def test_one_iteration_equals_the_step_written_out():
    trainer = make_trainer(batch_size=12)
    reference = UniversalModel(features=WIDTH, outputs="all")
    reference.load_state_dict(trainer.network.state_dict())
    trainer.run()

    batch = next(iter(trainer.data_loader))  # one batch is the whole epoch
    image, targets = add_noise(batch, torch.device("cpu"))
    optimizer = torch.optim.SGD(parameter_groups(reference, RATES), momentum=0.9)
    UniversalObjective()(reference.train()(image), targets)["loss"].backward()
    optimizer.step()
    assert_same(state(trainer), reference.state_dict(), rtol=1e-4, atol=1e-5)


def test_output_has_what_monais_handlers_expect():
    trainer = make_trainer(batch_size=4)
    trainer.run()
    output = trainer.state.output
    assert len(output) == 4  # decollated
    assert output[0]["image"].shape == output[0]["label"].shape == output[0]["pred"].shape == (1, 16, 16, 16)
    parts = {"loss", "loss_restoration", "loss_modality", "loss_scale"}
    assert parts <= set(output[0])


def trained_network():
    """A network whose running statistics are those of its features, so that frozen normalization lets them through."""
    trainer = make_trainer(epochs=20, batch_size=12)
    trainer.run()
    return trainer.network


@pytest.mark.parametrize("accumulation_steps", [3, 4])  # 4: an epoch ends with a step of fewer batches
def test_accumulation_equals_the_larger_batch_with_frozen_normalization(accumulation_steps):
    network = trained_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    large = make_trainer(batch_size=12, freeze_normalization=True, network=copy.deepcopy(network))
    small = make_trainer(
        batch_size=4, freeze_normalization=True, network=network, accumulation_steps=accumulation_steps
    )
    large.run()
    small.run()
    assert_same(state(large), state(small), rtol=1e-4, atol=1e-6)
    after = state(small)
    for part in ("encoder", "decoder", "discriminator", "scale_classifier"):
        moved = [float((after[n] - before[n]).abs().max()) for n in after if n.startswith(part)]
        assert max(moved) > 2e-5, part  # far more than the tolerance


def test_frozen_normalization_keeps_its_statistics():
    trainer = make_trainer(freeze_normalization=True)
    before = state(trainer)
    trainer.run()
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert_same({n: before[n] for n in statistics}, {n: state(trainer)[n] for n in statistics})


def test_clipping_bounds_the_step():
    trainer = make_trainer(batch_size=12, gradient_clip=1e-3, rates=dict.fromkeys(RATES, 1.0))
    before = state(trainer)
    trainer.run()
    moved = [(before[n] - p).square().sum() for n, p in trainer.network.named_parameters()]
    assert torch.stack(moved).sum().sqrt() <= 1e-3 * 1.001


def test_mixed_precision_stays_near_single_precision():
    single, mixed = make_trainer(batch_size=12), make_trainer(batch_size=12, amp=True, amp_dtype="bfloat16")
    single.run()
    mixed.run()
    for name in ("loss_restoration", "loss_modality", "loss_scale"):
        assert mixed.state.output[0][name] == pytest.approx(single.state.output[0][name], rel=0.03)
    assert next(mixed.network.parameters()).dtype == torch.float32


def test_ablations_train():
    network = UniversalModel(features=WIDTH, outputs="all", mial=False, scale_classifier=False)
    trainer = make_trainer(network=network)
    trainer.run()
    assert {name for name in trainer.state.output[0] if name.startswith("loss_")} == {"loss_restoration"}


def test_place_shares_parameters(generator):
    network = UniversalModel(features=WIDTH).eval()
    image = torch.rand(1, 1, 16, 16, 16, generator=generator)
    expected = network(image)
    placed = place_network(network, torch.device("cpu"), channels_last="true", compile="false")
    assert all(p is q for p, q in zip(placed.parameters(), network.parameters(), strict=True))
    torch.testing.assert_close(placed(image), expected, rtol=1e-4, atol=1e-5)
