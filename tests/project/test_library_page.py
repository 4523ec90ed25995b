# SPDX-License-Identifier: Apache-2.0
"""The code blocks of docs/library.md, run as they stand."""

from __future__ import annotations

import re

import nibabel
import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from universal_model_components.method.models import UniversalModel

BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/library.md").read_text(), flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch, generator):
    """Where a reader would stand: a scan and pre-trained weights (narrow, and the page's width with them)."""
    torch.save(UniversalModel(features=[4, 8, 16, 32]).state_dict(), tmp_path / "model.pt")
    voxels = torch.randint(-1000, 1000, (40, 36, 20), generator=generator).numpy().astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-2.0, -2.0, 4.0, 1.0])), tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)


def run(number: int) -> dict:
    names: dict = {}
    exec(compile(BLOCKS[number].replace("[64, 128, 256, 512]", "[4, 8, 16, 32]"), f"block {number}", "exec"), names)
    return names


def test_page_has_its_four_blocks():
    assert len(BLOCKS) == 4


@pytest.mark.usefixtures("folder")
def test_feature_extractor():
    names = run(0)
    state = torch.load("model.pt", weights_only=True)
    assert torch.equal(
        names["network"].state_dict()["encoder.levels.0.conv1.weight"], state["encoder.levels.0.conv1.weight"]
    )
    assert [list(level.shape) for level in names["levels"]] == [
        [1, 4, 64, 64, 32],
        [1, 8, 32, 32, 16],
        [1, 16, 16, 16, 8],
        [1, 32, 8, 8, 4],
    ]


def test_corruption_in_a_plain_loop():
    names = run(1)
    assert names["corrupted"].shape == names["original"].shape == (4, 1, 32, 32, 32)
    assert not torch.equal(names["corrupted"], names["original"])
    assert torch.isfinite(names["loss"])


@pytest.mark.parametrize("number", [2, 3])
def test_heads_on_other_networks(number):
    names = run(number)
    for part in ("network", "discriminator", "scales"):
        gradients = [p.grad for p in names[part].parameters() if p.grad is not None]
        assert gradients, part
        assert any(bool(gradient.abs().sum() > 0) for gradient in gradients), part


def test_discriminator_is_played_against_on_another_network():
    """The encoder's gradient of the modality loss has the opposite sign of the one without reversal."""
    names = run(2)
    network, discriminator, cubes = names["network"].eval(), names["discriminator"].eval(), names["cubes"]
    pooled = lambda: [torch.nn.functional.max_pool3d(level, 2) for level in network.encode(cubes)[1][:-1]]  # noqa: E731
    gradients = []
    for reverse in (names["reverse_gradient"], lambda x: x):
        network.zero_grad()
        logits = discriminator([reverse(level) for level in pooled()])
        torch.nn.functional.cross_entropy(logits, names["known"]["modality"]).backward()
        gradients.append(network.convInit.conv.weight.grad.clone())
    torch.testing.assert_close(gradients[0], -gradients[1])
