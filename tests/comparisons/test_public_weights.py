# SPDX-License-Identifier: Apache-2.0
"""Files in the layouts of the public checkpoints start the networks, and bad ones end in the one line that ours do."""

from __future__ import annotations

import pytest
import torch
from functional_layers import randomize_statistics
from torch import nn

from universal_model_components.comparisons.dense_vnet import DenseVNetSegmentation
from universal_model_components.comparisons.i3d import I3DClassification, I3DEncoder, I3DSegmentation
from universal_model_components.comparisons.med3d import Med3DClassification, Med3DEncoder, Med3DSegmentation
from universal_model_components.method.models import UniversalModel
from universal_model_components.weights.loading import load_pretrained
from universal_model_components.weights.strict import load_weights

NARROW = {"width": 2, "layers": [1, 1, 2, 1]}


def i3d_file(folder, channels=3, width=4):
    """The public layout: a plain state dict without counters of batches, with the logits of 400 classes."""
    encoder = randomize_statistics(I3DEncoder(channels, width))
    state = {name: t for name, t in encoder.state_dict().items() if not name.endswith("num_batches_tracked")}
    logits = nn.Conv3d(encoder.features[-1], 400, kernel_size=1)
    state |= {f"logits.conv3d.{name}": tensor for name, tensor in logits.state_dict().items()}
    torch.save(state, folder / "rgb_imagenet.pt")
    return folder / "rgb_imagenet.pt", state


def med3d_file(folder):
    """The public layout: {"state_dict": …} of a network within DataParallel."""
    state = randomize_statistics(Med3DEncoder(**NARROW)).state_dict()
    torch.save({"state_dict": {f"module.{name}": t for name, t in state.items()}}, folder / "resnet_101.pth")
    return folder / "resnet_101.pth", state


def assert_encoder_has(network, state):
    own = network.encoder.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items() if name in own)


@pytest.mark.parametrize("network", [I3DSegmentation(width=4), I3DClassification(width=4, hidden_channels=8)])
def test_i3d_starts_from_its_public_layout(network, tmp_path, capsys):
    file, state = i3d_file(tmp_path)
    coverage = load_pretrained(network, file, {"encoder": 1.0}, transfer="encoder")
    assert coverage["encoder"].share == 1.0
    assert (coverage["encoder"].loaded, coverage["encoder"].other_shape) == (len(state) - 2, 0)
    assert coverage["logits"].unexpected == 2
    assert_encoder_has(network, state)
    assert "100.0%" in capsys.readouterr().out


@pytest.mark.parametrize("network", [Med3DSegmentation(**NARROW), Med3DClassification(**NARROW, hidden_channels=8)])
def test_med3d_starts_from_its_public_layout_strictly(network, tmp_path):
    file, state = med3d_file(tmp_path)
    coverage = load_pretrained(network, file, {"encoder": 1.0}, transfer="encoder")
    part = coverage["encoder"]
    assert (part.loaded, part.missing, part.other_shape, part.share) == (len(state), 0, 0, 1.0)
    assert sum(part.unexpected for part in coverage.parts.values()) == 0
    assert_encoder_has(network, state)


def test_weights_of_one_task_start_another(tmp_path):
    source, target = randomize_statistics(DenseVNetSegmentation(width=6)), DenseVNetSegmentation(width=6)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    load_pretrained(target, tmp_path / "model.pt", {"encoder": 1.0}, transfer="encoder")
    assert_encoder_has(target, source.encoder.state_dict())
    assert not torch.equal(target.decoder.skips[0].conv.weight, source.decoder.skips[0].conv.weight)


@pytest.mark.parametrize(
    ("channels", "width", "message"),
    [
        [2, 4, r"covers 9\d\.\d% of encoder, expected 100\.0% \(encoder\.Conv3d_1a_7x7.* is \[4, 2, 7, 7, 7\] in it\)"],
        [3, 8, r"covers 0\.0% of encoder, .*: give the width as in its training"],
    ],
)
def test_another_stem_or_width_is_refused_in_one_line(channels, width, message, tmp_path):
    file, _ = i3d_file(tmp_path, channels, width)
    network = I3DSegmentation(width=4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_pretrained(network, file, {"encoder": 1.0}, transfer="encoder")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    torch.save(UniversalModel(features=[4, 8]).state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"covers 0\.0% of encoder.*: its names begin with \['decoder', .*\]: give"):
        load_pretrained(Med3DSegmentation(**NARROW), tmp_path / "model.pt", {"encoder": 1.0}, transfer="encoder")
    with pytest.raises(ValueError, match=r"lacks \d+ tensors of .*: give weights of Med3DSegmentation$"):
        load_weights(Med3DSegmentation(**NARROW), tmp_path / "model.pt")
    torch.save(Med3DSegmentation(**{**NARROW, "width": 4}).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(ValueError, match=r"the network expects \[.*\]: give the width as in its training"):
        load_weights(Med3DSegmentation(**NARROW), tmp_path / "wide.pt")
