# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re

import pytest
import torch
from conftest import REPOSITORY
from original_network import original_state
from safetensors.torch import save_file
from torch import nn

import universal_model_components
from universal_model_components.method.models import UniversalModel
from universal_model_components.method.unet import UNet
from universal_model_components.weights.coverage import percent
from universal_model_components.weights.loading import load_pretrained
from universal_model_components.weights.strict import load_weights

FEATURES = [4, 8, 16, 32]


class Classifier(nn.Module):
    """A target network with an encoder and a head of its own."""

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__()
        self.encoder = UNet(in_channels, 1, FEATURES).encoder
        self.classifier = nn.Linear(FEATURES[-1], 2)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Weights of a pre-training whose running statistics are not the initial ones."""
    network = UniversalModel(features=FEATURES, outputs="all").train()
    network(torch.rand(2, 1, 16, 16, 16))
    return network.state_dict()


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


SOURCES = {
    "state dict": lambda state, file: torch.save(state, file),
    "model": lambda state, file: torch.save({"model": state, "epoch": 3}, file),
    "state_dict": lambda state, file: torch.save({"state_dict": state, "optimizer": {"lr": 0.1}}, file),
    "our checkpoint": lambda state, file: torch.save({"network": state, "random": [1, 2]}, file),
    "DataParallel": lambda state, file: torch.save(prefixed(state, "module."), file),
    "both": lambda state, file: torch.save({"state_dict": prefixed(state, "module._orig_mod.")}, file),
    "legacy": lambda state, file: torch.save(state, file, _use_new_zipfile_serialization=False),
    "safetensors": lambda state, file: save_file(state, file),
}


@pytest.mark.parametrize("form", SOURCES)
def test_every_form_of_file_gives_the_files_values(form, state, tmp_path, capsys):
    SOURCES[form](state, tmp_path / "model.pt")
    network = UNet(1, 3, FEATURES)
    head = network.decoder.head.weight.clone()
    coverage = load_pretrained(network, tmp_path / "model.pt")
    for name, tensor in network.state_dict().items():
        if name.startswith("decoder.head"):
            continue
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    assert torch.equal(network.decoder.head.weight, head)
    assert (coverage["encoder"].share, coverage["decoder"].share) == (1.0, 1.0)
    assert capsys.readouterr().out.strip() == str(coverage)


def test_counts_of_the_table(state):
    coverage = load_pretrained(UNet(1, 1, FEATURES), {"model": state})
    encoder, decoder, discriminator = (coverage[name] for name in ("encoder", "decoder", "discriminator"))
    assert (encoder.loaded, encoder.missing, encoder.unexpected) == (4 * 14, 0, 0)  # 2 weights and 5 of the norm, twice
    assert (decoder.loaded, decoder.new, decoder.missing) == (3 * 16, 2, 0)
    assert (discriminator.loaded, discriminator.share) == (0, None)
    assert discriminator.unexpected == sum(name.startswith("discriminator.") for name in state)
    assert "scale_classifier" in str(coverage)


def test_the_classifier_is_new_and_the_encoder_is_not(state):
    network = Classifier()
    before = network.classifier.weight.clone()
    coverage = load_pretrained(network, state)
    assert coverage["classifier"].new == 2
    assert coverage["encoder"].share == 1.0
    assert torch.equal(network.classifier.weight, before)
    assert torch.equal(network.encoder.levels[3].conv2.weight, state["encoder.levels.3.conv2.weight"])


def test_the_restoration_head_is_taken_when_asked_for(state):
    network = UNet(1, 1, FEATURES)
    assert load_pretrained(network, state, new_heads=())["decoder"].new == 0
    assert torch.equal(network.decoder.head.weight, state["decoder.head.weight"])


def test_n_equal_channels_are_answered_as_one_was(state, generator):
    one, four = Classifier(1).eval(), Classifier(4).eval()
    load_pretrained(one, state)
    coverage = load_pretrained(four, state)
    assert (coverage["encoder"].reshaped, coverage["encoder"].share) == (1, 1.0)
    image = torch.rand(2, 1, 16, 16, 8, generator=generator)
    for left, right in zip(one.encoder(image), four.encoder(image.expand(2, 4, 16, 16, 8)), strict=True):
        torch.testing.assert_close(left, right)


def test_batch_statistics_need_no_running_ones(state):
    network = nn.Module()
    network.encoder = UNet(1, 1, FEATURES).encoder
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    coverage = load_pretrained(network, {name: t for name, t in state.items() if name.startswith("encoder.")})
    assert (coverage["encoder"].share, coverage["encoder"].unexpected) == (1.0, 0)


@pytest.mark.parametrize("source", [None, "null", "None"])
def test_from_scratch_is_said(source, caplog):
    network = UNet(1, 1, FEATURES)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with caplog.at_level("INFO"):
        assert load_pretrained(network, source) is None
    assert "from scratch" in caplog.text
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if not name.startswith(names)}


@pytest.mark.parametrize(
    ("change", "minimum", "message"),
    [
        [lambda s: without(s, "encoder.levels.3"), 1.0, r"covers \d+\.\d% of encoder, expected 100\.0% \(encoder\.lev"],
        [lambda s: without(s, "decoder"), {"decoder": 0.5}, r"covers 0\.0% of decoder, expected 50\.0%"],
        [lambda s: UniversalModel(features=[8, 16]).state_dict(), 0.9, r'of encoder.* give --features "\[8, 16\]"'],
        [lambda s: prefixed(s, "backbone."), 1.0, r"covers 0\.0% of encoder"],
        [lambda s: s, {"neck": 0.5}, r"minimum_coverage: the network has no part 'neck'"],
        [lambda s: prefixed(s, "backbone."), 0.0, r"no tensor of .* fits .* its names begin with \['backbone'\]"],
        [lambda s: UniversalModel(features=[6, 10]).state_dict(), 0, r'no tensor .* fits .* --features "\[6, 10\]"'],
        [
            lambda s: {**s, "encoder.levels.0.conv1.bias": torch.full((8,), torch.nan)},
            1.0,
            r"conv1\.bias .*not finite",
        ],
        [lambda s: s, {"discriminator": 0.5}, r"no part 'discriminator' to load \(found \['decoder', 'encoder'\]\)"],
        [lambda s: s, "all", r"minimum_coverage: 'all' is not a share: give a number"],
        [lambda s: s, {"encoder": None}, r"minimum_coverage: None is not a share: give a number"],
        [lambda s: s, 90, r"minimum_coverage: 90 for encoder is not a share"],
    ],
)
def test_too_little_is_refused_and_nothing_is_changed(change, minimum, message, state):
    network = UNet(1, 1, FEATURES)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_pretrained(network, change(state), minimum)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("source", [True, 3, ""])
def test_what_names_no_file_is_no_silent_start_from_scratch(source):
    with pytest.raises(ValueError, match=rf"pretrained_weights: {source!r} is not a file: give a \.pt"):
        load_pretrained(UNet(1, 1, FEATURES), source)


@pytest.mark.parametrize(
    ("share", "text"), [[1.0, "100.0%"], [0.99999, "99.9%"], [0.57, "57.0%"], [0.4478, "44.7%"], [0.0, "0.0%"]]
)
def test_what_is_not_whole_never_reads_as_whole(share, text):
    assert percent(share) == text


def test_a_lower_threshold_lets_an_encoder_alone_through(state):
    coverage = load_pretrained(UNet(1, 1, FEATURES), without(state, "decoder"), {"encoder": 1.0})
    assert (coverage["encoder"].share, coverage["decoder"].share) == (1.0, 0.0)


class Code:
    """Unpickled naively, it would run a command."""

    def __reduce__(self):
        return os.system, ("touch SHOULD_NOT_BE_HERE",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_named_and_not_run(zipped, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state, "epoch": Code()}, "bad.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"bad\.pt holds code \((posix|nt)\.system\), which is not run") as caught:
        load_pretrained(UNet(1, 1, FEATURES), "bad.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "SHOULD_NOT_BE_HERE").exists()


def test_whole_numbers_are_no_weights(state, tmp_path):
    rounded = {name: tensor.to(torch.int8) if tensor.ndim == 5 else tensor for name, tensor in state.items()}
    torch.save(rounded, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"covers .* of encoder, .*conv1.weight .* is .* int8 in it"):
        load_pretrained(UNet(1, 1, FEATURES), tmp_path / "model.pt")
    network = UniversalModel(features=FEATURES)
    with pytest.raises(ValueError, match=r"is torch.int8, the network expects torch.float32: give weights as"):
        load_weights(network, tmp_path / "model.pt")


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_files_that_are_no_weights_are_named(state, tmp_path):
    for name, write in (("cut.pt", torch.save), ("cut.safetensors", save_file)):
        write(state, tmp_path / name)
        cut(tmp_path / name)
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><html>404</html>")
    (tmp_path / "pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (tmp_path / "empty.pt").touch()
    torch.jit.script(UNet(1, 1, FEATURES)).save(tmp_path / "model.ts")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    torch.save({1: torch.zeros(1)}, tmp_path / "numbers.pt")
    messages = {
        "cut.pt": "is unreadable",
        "cut.safetensors": "is unreadable or truncated",
        "page.pt": "is a web page, not weights: download it again",
        "pointer.pt": "is a Git LFS pointer",
        "empty.pt": "is unreadable",
        "model.ts": "is a TorchScript archive",
        "list.pt": "holds list, expected a plain state dict",
        "numbers.pt": r"holds a mapping of \[1\]",
        "epoch.pt": r"holds a mapping of \['epoch'\]",
    }
    for name, message in messages.items():
        with pytest.raises(ValueError, match=rf"pretrained_weights: .*{name} {message}") as caught:
            load_pretrained(UNet(1, 1, FEATURES), tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pt"):
        load_pretrained(UNet(1, 1, FEATURES), tmp_path / "none.pt")


@pytest.mark.parametrize("channels", [1, 2])
def test_the_encoder_alone_in_one_call(channels, state, tmp_path, generator):
    torch.save(state, tmp_path / "model.pt")
    made = universal_model_components.encoder(weights=tmp_path / "model.pt", in_channels=channels).eval()
    network = UNet(1, 1, FEATURES).eval()
    load_pretrained(network, state)
    image = torch.rand(1, 1, 16, 16, 8, generator=generator)
    with torch.no_grad():
        levels, expected = made(image.expand(-1, channels, -1, -1, -1)), network.encoder(image)
    assert [level.shape[1] for level in levels] == FEATURES
    for ours, theirs in zip(levels, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_encoder_alone_from_scratch_and_from_an_original(tmp_path, caplog):
    made = universal_model_components.encoder(features=[4, 8])
    assert [level.conv2.out_channels for level in made.levels] == [4, 8]
    torch.save({"state_dict": original_state(FEATURES)}, tmp_path / "Genesis.pt")
    made = universal_model_components.encoder(weights=tmp_path / "Genesis.pt")
    assert not made.levels[0].norm1.track_running_stats
    assert "give batch_statistics" not in caplog.text
    torch.save({"neck.weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"covers 0\.0% of encoder"):
        universal_model_components.encoder(weights=tmp_path / "other.pt", features=[4, 8])


@pytest.mark.parametrize("page", ["docs/weights.md", "README.md"])
def test_the_pages_code_runs(page, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), flags=re.DOTALL)
    (block,) = [block for block in blocks if "model.pt" in block]
    for file in ("model.pt", "WORK/models/model.pt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        torch.save(UniversalModel(features=FEATURES).state_dict(), tmp_path / file)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(block.replace("[64, 128, 256, 512]", str(FEATURES)), page, "exec"), names)
    if page == "README.md":
        assert [level.shape[1] for level in names["levels"]] == FEATURES
    else:
        assert (names["coverage"]["encoder"].reshaped, names["coverage"]["decoder"].share) == (1, 1.0)


def test_the_encoder_alone_is_transferred(state):
    network = UNet(1, 1, FEATURES)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    coverage = load_pretrained(network, state, {"encoder": 0.99, "decoder": 0.99}, transfer="encoder")
    assert (coverage["encoder"].share, coverage["decoder"].share, coverage["decoder"].loaded) == (1.0, None, 0)
    for name, tensor in network.state_dict().items():
        expected = state if name.startswith("encoder.") else before
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        ["decoder", r"^transfer: 'decoder' is not one of \['encoder', 'encoder\+decoder'\]"],
        ["encoder+decoder", r"^transfer: 'encoder\+decoder', but the network has no decoder \(found \['classifier'"],
    ],
)
def test_a_part_that_cannot_be_transferred_is_named(transfer, message, state):
    for source in (state, None):
        with pytest.raises(ValueError, match=message):
            load_pretrained(Classifier(), source, transfer=transfer)
