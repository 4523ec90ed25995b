# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet
from monai.networks.nets import UNet as MonaiUNet
from original_network import original_forward, original_state

from universal_model_components.inference.folding import fold_normalization, merge_upsampling
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.unet import UNet
from universal_model_components.weights.conversion import (
    as_encoder,
    encoder_features,
    encoder_for,
    from_original,
    is_original,
)
from universal_model_components.weights.loading import load_encoder, load_pretrained

WIDTHS = (4, 8, 16, 32)


@pytest.fixture
def checkpoint(tmp_path):
    """A file as the original training writes it."""
    state = {f"module.{name}": tensor for name, tensor in original_state(WIDTHS).items()}
    torch.save({"epoch": 12, "state_dict": state, "optimizer_state_dict": {"state": {}}}, tmp_path / "Genesis.pt")
    return tmp_path / "Genesis.pt"


def test_outputs_equal_the_originals(checkpoint, generator):
    network = UNet(1, 1, WIDTHS, batch_statistics=True).eval()
    coverage = load_pretrained(network, checkpoint, new_heads=())
    assert (coverage["encoder"].share, coverage["decoder"].share) == (1.0, 1.0)
    assert sum(part.unexpected for part in coverage.parts.values()) == 0
    image = torch.rand(2, 1, 32, 16, 16, generator=generator)
    expected = original_forward(original_state(WIDTHS), image)
    with torch.no_grad():
        torch.testing.assert_close(torch.sigmoid(network(image)), expected, atol=1e-5, rtol=0)
    running = UNet(1, 1, WIDTHS).eval()
    load_pretrained(running, checkpoint, new_heads=())
    with torch.no_grad():
        assert (torch.sigmoid(running(image)) - expected).abs().max() > 1e-2  # the setting is what makes them equal


def test_the_universal_model_restores_as_the_original_does(checkpoint, generator):
    network = UniversalModel(features=WIDTHS, mial=False, scale_classifier=False, batch_statistics=True).eval()
    load_pretrained(network, checkpoint, new_heads=())
    image = torch.rand(1, 1, 16, 16, 16, generator=generator)
    with torch.no_grad():
        expected = original_forward(original_state(WIDTHS), image)
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=0)


def test_the_full_width_has_the_shapes_of_ours():
    with torch.device("meta"):
        network = UNet()
    converted, left_out = from_original(original_state(), "Genesis.pt")
    assert left_out == []
    assert {n: t.shape for n, t in converted.items()} == {n: t.shape for n, t in network.state_dict().items()}


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_loading_warns_where_normalization_differs(batch_statistics, checkpoint, caplog):
    load_pretrained(UNet(1, 1, WIDTHS, batch_statistics), checkpoint)
    assert ("give batch_statistics true" in caplog.text) is not batch_statistics
    assert all("\n" not in record.message for record in caplog.records)


def test_names_that_are_not_the_unets_are_left_out_or_refused():
    state = original_state(WIDTHS) | {"classifier.0.weight": torch.ones(2)}
    assert is_original(state)
    assert from_original(state, "file")[1] == ["classifier.0.weight"]
    with pytest.raises(ValueError, match=r"file: down_tr64\.ops\.0\.activation\.weight is not a layer of the original"):
        from_original(state | {"down_tr64.ops.0.activation.weight": torch.ones(4)}, "file")
    assert not is_original(UNet(1, 1, WIDTHS).state_dict())


@pytest.mark.parametrize("batch", [1, 2])
def test_batch_statistics_script_trace_and_export(batch, tmp_path, generator):
    network = UNet(1, 1, WIDTHS, batch_statistics=True).eval()
    image = torch.rand(batch, 1, 16, 16, 16, generator=generator)
    with torch.no_grad():
        expected = network(image)
        torch.testing.assert_close(torch.jit.script(network)(image), expected)
        torch.testing.assert_close(torch.jit.trace(network, image)(image), expected)
        torch.testing.assert_close(network.train()(image), expected)
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file = str(tmp_path / "model.onnx")
    torch.onnx.export(network.eval(), (image,), file, dynamo=True, verbose=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), expected, atol=1e-4, rtol=1e-4)


def test_batch_statistics_survive_folding(generator):
    network = UNet(1, 1, WIDTHS, batch_statistics=True).eval()
    image = torch.rand(2, 1, 16, 16, 16, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(merge_upsampling(fold_normalization(network))(image), network(image))


def basic_unet():
    return BasicUNet(3, 1, 1, features=(2, 4, 8, 16, 32, 2), norm="batch", act="relu")


def monai_unet():
    return MonaiUNet(3, 1, 1, channels=(2, 4, 4, 8, 8, 16, 16, 32), strides=(1, 1, 2, 1, 2, 1, 2), norm="batch")


@pytest.mark.parametrize(("make", "first"), [[basic_unet, "conv_0.conv_0.conv"], [monai_unet, "model.0.conv"]])
def test_all_encoder_weights_fit_monais_networks(make, first, capsys):
    state = UniversalModel(features=WIDTHS).state_dict()
    encoder = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    network = make()
    named = encoder_for(network, state)
    assert len(named) == len(encoder)
    for ours, theirs in zip(encoder.values(), named.values(), strict=True):
        assert ours is theirs
    coverage = load_encoder(network, state)
    assert sum(part.loaded for part in coverage.parts.values()) == len(encoder)
    assert str(coverage) in capsys.readouterr().out
    torch.testing.assert_close(network.state_dict()[f"{first}.weight"], state["encoder.levels.0.conv1.weight"])
    for name, tensor in named.items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_the_first_layer_gives_the_same_output_in_monais_network(generator):
    ours, theirs = UNet(1, 1, WIDTHS).eval(), basic_unet().eval()
    load_encoder(theirs, ours.state_dict())
    image = torch.rand(1, 1, 16, 16, 16, generator=generator)
    level = ours.encoder.levels[0]
    with torch.no_grad():
        expected = torch.relu(level.norm1(level.conv1(image)))
        torch.testing.assert_close(theirs.conv_0.conv_0(image), expected)


def test_a_network_without_such_layers_is_named():
    state = UniversalModel(features=WIDTHS).state_dict()
    with pytest.raises(ValueError, match=r"no layer of the given mapping \(features \[4, 8, 16, 32\]\) fits Linear"):
        load_encoder(torch.nn.Linear(2, 2), state)


def test_width_is_read_from_the_names():
    assert encoder_features(UNet(1, 1, WIDTHS).state_dict()) == list(WIDTHS)
    assert encoder_features({}) == []


def test_names_without_a_part_are_the_encoders():
    own = {name: torch.zeros(1) for name in ("encoder.conv1.weight", "encoder.bn1.bias", "classifier.output.bias")}
    state = {"conv1.weight": torch.ones(1), "fc.weight": torch.ones(2)}
    assert as_encoder(state, own) == {"encoder.conv1.weight": state["conv1.weight"], "fc.weight": state["fc.weight"]}
    whole = {**state, "encoder.bn1.bias": torch.ones(1)}
    assert as_encoder(whole, own) == whole  # some names are the network's already
