# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from monai.inferers import SlidingWindowInferer

from universal_model_components.inference.features import LevelMeans, PooledFeatures
from universal_model_components.method.unet import UNet
from universal_model_components.utils.pooling import pool_levels


def test_features_are_averaged_over_voxels_and_windows(generator):
    network = UNet(features=[4, 8]).eval()
    images = torch.rand(2, 1, 8, 8, 16, generator=generator)
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        [{"image": image[None]} for image in images],
        network,
        inferer=SlidingWindowInferer((8, 8, 8), sw_batch_size=1, overlap=0),
        decollate=False,
    )
    PooledFeatures(network.encoder).attach(evaluator)
    found = []
    evaluator.add_event_handler("ITERATION_COMPLETED", lambda engine: found.append(dict(engine.state.output)))
    evaluator.run()
    assert len(found) == 2
    for image, output in zip(images, found, strict=True):
        with torch.no_grad():
            halves = [pool_levels(network.encoder(half[None])) for half in image.split(8, dim=3)]
        for depth, pair in enumerate(zip(*halves, strict=True), start=1):
            expected = torch.stack(pair).mean(0)
            assert output[f"level_{depth}"].shape == (1, [4, 8][depth - 1])
            np.testing.assert_allclose(output[f"level_{depth}"], expected, atol=1e-6)


def test_means_are_of_all_windows_since_the_reset(generator):
    encoder = UNet(features=[4, 8]).encoder.eval()
    levels = LevelMeans(encoder)
    assert levels.means() == []
    images = torch.rand(3, 1, 8, 8, 8, generator=generator)
    with torch.no_grad():
        encoder(images[:1])
        levels.reset()
        expected = [pooled.mean(0, keepdim=True) for pooled in pool_levels(encoder(images))]
        levels.reset()
        encoder(images[:2])
        encoder(images[2:])
    for mean, pooled in zip(levels.means(), expected, strict=True):
        torch.testing.assert_close(mean, pooled)
