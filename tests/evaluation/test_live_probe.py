# SPDX-License-Identifier: Apache-2.0
"""The linear read-out of voxel features during pre-training."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from scan_files import write_labeled_scans
from torch import nn

from universal_model_components.evaluation.live_probe import FeatureProbe, read_out, untrained, voxel_features
from universal_model_components.method.unet import Encoder
from universal_model_components.training.handlers import EarlyStop

WIDTH = [4, 8, 16, 32]
RECIPE = {
    "spacing": [1.0, 1.0, 1.0],
    "patch_size": [16, 16, 16],
    "intensity_range": {"mri": None},
    "intensity_scale": {"mri": "volume"},
}


class Levels(nn.Module):
    """An encoder whose two levels are the image itself and its mean over blocks."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image):
        return [image * self.weight, nn.functional.avg_pool3d(image, 2)]


def patches(generator, count=2, shift=0.0):
    made = []
    for _ in range(count):
        label = torch.zeros(1, 16, 16, 16)
        label[:, 4:10, 4:10, 4:10] = 1
        made.append({"image": torch.rand(1, 16, 16, 16, generator=generator) + shift * label, "label": label})
    return made


def test_features_of_a_voxel_are_its_levels(generator):
    image = torch.rand(1, 1, 4, 6, 8, generator=generator)
    features = voxel_features(Levels(), image)
    assert features.shape == (4 * 6 * 8, 2)
    assert torch.equal(features[:, 0], image.flatten())
    assert float(features[0, 1]) == pytest.approx(float(image[0, 0, :2, :2, :2].mean()))


def test_foreground_that_shows_is_read_out_and_noise_is_not(generator):
    shown = read_out(Levels(), patches(generator, shift=1.0), patches(generator, shift=1.0))
    assert shown > 0.99
    assert abs(read_out(Levels(), patches(generator), patches(generator)) - 0.5) < 0.1


def test_untrained_encoders_are_new_by_seed_and_leave_random_numbers_alone():
    encoder = Encoder(1, WIDTH)
    before = torch.get_rng_state()
    first, again, other = untrained(encoder, 1), untrained(encoder, 1), untrained(encoder, 2)
    assert torch.equal(torch.get_rng_state(), before)
    weights = [next(e.parameters()) for e in (first, again, other, encoder)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


@pytest.fixture
def datalist(tmp_path):
    return write_labeled_scans(tmp_path)


def run(folder, epochs=3, patience=0, **settings):
    torch.manual_seed(0)
    network = nn.Module()
    network.encoder = Encoder(1, WIDTH)
    engine = Engine(lambda engine, batch: None)
    settings = {"interval": 1, "datalist": str(folder), "dataset_dir": str(folder.parent), **settings}
    probe = FeatureProbe(network, RECIPE, **settings)
    probe.attach(engine)
    stop = EarlyStop(None, "probe_auc", patience, settings["interval"], higher_is_better=True)
    stop.attach(engine)
    seen = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(dict(engine.state.metrics)))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    engine.run([0], epochs)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    return seen, stop


def test_the_trainer_s_metrics_have_both_figures_every_interval(datalist):
    written = []
    writer = SimpleNamespace(add_scalars=lambda *values: written.append(values))
    seen, _ = run(datalist, interval=2, writer=writer)
    assert [("probe_auc" in metrics) for metrics in seen] == [False, True, False]
    assert 0.9 < seen[1]["probe_auc"] <= 1
    assert 0.5 < seen[1]["probe_auc_untrained"] <= 1
    assert written == [("probe", {"auc": seen[1]["probe_auc"], "untrained": seen[1]["probe_auc_untrained"]}, 2)]


def test_the_patches_are_those_of_the_seed(datalist):
    network = nn.Module()
    network.encoder = Encoder(1, WIDTH)
    read = []
    for seed in (0, 0, 1):
        probe = FeatureProbe(network, RECIPE, 1, str(datalist), str(datalist.parent), seed=seed)
        probe.read()
        read.append(torch.cat([torch.as_tensor(patch["image"]) for patch in probe.patches["training"]]))
    assert torch.equal(read[0], read[1])
    assert not torch.equal(read[0], read[2])


def test_it_is_off_by_default_and_needs_scans_when_on(datalist):
    seen, _ = run(datalist, interval=0)
    assert seen == [{}, {}, {}]
    with pytest.raises(ValueError, match="probe_interval: a probe needs labeled scans: give probe_data::datalist"):
        run(datalist, datalist=None)


def test_masks_and_modalities_that_cannot_be_used_are_named(datalist):
    with pytest.raises(ValueError, match=r"probe_data::modality: 'pet' is none of the cubes' \['mri'\]"):
        run(datalist, modality="pet")
    for file in datalist.parent.rglob("*.nii.gz"):
        if "label" in str(file.relative_to(datalist.parent)):
            scan = nibabel.load(file)
            nibabel.save(nibabel.Nifti1Image(np.zeros(scan.shape, np.uint8), scan.affine), file)
    with pytest.raises(
        ValueError, match="probe_data::datalist: the masks of 'training' are all foreground or all back"
    ):
        run(datalist)


def test_training_stops_when_the_features_get_no_better(datalist):
    seen, stop = run(datalist, epochs=6, patience=2)  # nothing is trained, so nothing gets better
    assert len(seen) == 3
    again = EarlyStop(None, "probe_auc", patience=2, higher_is_better=True)
    engine = Engine(lambda engine, batch: None)
    again.attach(engine)
    again.load_state_dict(stop.state_dict())
    assert engine.should_terminate
