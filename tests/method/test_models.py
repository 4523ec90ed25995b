# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from universal_model_components.method.losses import UniversalObjective
from universal_model_components.method.models import ClassificationModel, UniversalModel

WIDTH = [4, 8, 16, 32]
CASES = [
    [{"outputs": "restoration"}, (2, 1, 16, 16, 16), {}],
    [{"outputs": "all"}, (2, 1, 16, 16, 16), {"restoration": (2, 1, 16, 16, 16), "modality": (2, 2), "scale": (2, 3)}],
    [
        {"outputs": "all", "in_channels": 2, "num_modalities": 4, "num_scales": 5},
        (1, 2, 32, 32, 16),
        {"restoration": (1, 2, 32, 32, 16), "modality": (1, 4), "scale": (1, 5)},
    ],
    [{"outputs": "all", "mial": False}, (1, 1, 16, 16, 16), {"restoration": (1, 1, 16, 16, 16), "scale": (1, 3)}],
    [
        {"outputs": "all", "scale_classifier": False},
        (1, 1, 16, 16, 16),
        {"restoration": (1, 1, 16, 16, 16), "modality": (1, 2)},
    ],
]


@pytest.mark.parametrize(("kwargs", "in_shape", "out_shapes"), CASES)
def test_outputs_and_script(kwargs, in_shape, out_shapes, generator, tmp_path):
    network = UniversalModel(features=WIDTH, **kwargs).eval()
    image = torch.rand(in_shape, generator=generator)
    outputs = network(image)
    torch.jit.save(torch.jit.script(network), tmp_path / "model.ts")
    scripted = torch.jit.load(tmp_path / "model.ts")(image)
    if out_shapes:
        assert {name: tuple(value.shape) for name, value in outputs.items()} == out_shapes
        for name, value in outputs.items():
            torch.testing.assert_close(scripted[name], value)
    else:
        assert outputs.shape == in_shape
        assert 0 <= outputs.min() <= outputs.max() <= 1
        torch.testing.assert_close(scripted, outputs)


def test_state_dict_prefixes():
    prefixes = {name.split(".")[0] for name in UniversalModel(features=WIDTH).state_dict()}
    assert prefixes == {"encoder", "decoder", "discriminator", "scale_classifier"}


def test_restoration_is_the_sigmoid_of_the_logits(generator):
    network = UniversalModel(features=WIDTH, outputs="all").eval()
    plain = UniversalModel(features=WIDTH).eval()
    plain.load_state_dict(network.state_dict(), strict=True)
    image = torch.rand(1, 1, 16, 16, 16, generator=generator)
    torch.testing.assert_close(plain(image), torch.sigmoid(network(image)["restoration"]))


def test_one_backward_pass_plays_the_two_player_game(generator):
    """Eq. 4 by hand: E descends β L_rec + α L_scale and ascends D's cross-entropy, which D and it alone descends."""
    network = UniversalModel(features=WIDTH, outputs="all").double().eval()
    image = torch.rand(4, 1, 16, 16, 16, generator=generator, dtype=torch.float64)
    targets = {
        "restoration": torch.rand(4, 1, 16, 16, 16, generator=generator, dtype=torch.float64),
        "modality": torch.tensor([0, 1, 1, 0]),
        "scale": torch.tensor([0, 2, 1, 2]),
    }
    alpha, beta = 0.7, 9.0

    objective = UniversalObjective(alpha, beta)
    logits = network(image)
    total = beta * functional.mse_loss(torch.sigmoid(logits["restoration"]), targets["restoration"])
    total = total + alpha * functional.cross_entropy(logits["scale"], targets["scale"])
    total = total + functional.cross_entropy(logits["modality"], targets["modality"])
    total.backward()
    ours = {name: p.grad.clone() for name, p in network.named_parameters()}

    # the same game without reversal, one player at a time
    levels = network.encoder(image)
    modality = network.discriminator([network.encoder.pool(level) for level in levels[:-1]])
    adversarial = functional.cross_entropy(modality, targets["modality"])
    scale = functional.cross_entropy(network.scale_classifier(levels[-1]), targets["scale"])
    restoration = functional.mse_loss(torch.sigmoid(network.decoder(levels)), targets["restoration"])
    losses = {
        "encoder": beta * restoration + alpha * scale - adversarial,
        "decoder": beta * restoration,
        "discriminator": adversarial,
        "scale_classifier": alpha * scale,
    }
    for part, loss in losses.items():
        names, parameters = zip(*getattr(network, part).named_parameters(prefix=part), strict=True)
        for name, gradient in zip(names, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
            torch.testing.assert_close(ours[name], gradient, msg=lambda text, name=name: f"{name}: {text}")

    # the objective in float32 adds up to the same
    network.float()
    logits = network(image.float())
    values = objective(logits, targets)
    assert set(values) == {"restoration", "modality", "scale", "loss"}
    torch.testing.assert_close(values["loss"].item(), total.item(), rtol=1e-4, atol=1e-4)


def test_unknown_outputs():
    with pytest.raises(ValueError, match="outputs must be one of"):
        UniversalModel(outputs="logits")


@pytest.mark.parametrize(
    ("kwargs", "in_shape", "out_shape"),
    [
        [{}, (3, 1, 16, 16, 8), (3, 2)],
        [{"in_channels": 2, "num_classes": 5, "hidden_channels": 7}, (1, 2, 8, 16, 24), (1, 5)],
    ],
)
def test_classification_model(kwargs, in_shape, out_shape, generator, tmp_path):
    network = ClassificationModel(features=WIDTH, **kwargs).eval()
    image = torch.rand(in_shape, generator=generator)
    logits = network(image)
    assert logits.shape == out_shape
    torch.testing.assert_close(network.classifier(network.encoder(image)[-1]), logits)
    torch.jit.save(torch.jit.script(network), tmp_path / "model.ts")
    torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image), logits)


def test_classification_model_takes_the_pretrained_encoder():
    pretrained, network = UniversalModel(features=WIDTH), ClassificationModel(features=WIDTH)
    found = network.load_state_dict(pretrained.state_dict(), strict=False)
    assert {name.split(".")[0] for name in found.missing_keys} == {"classifier"}
