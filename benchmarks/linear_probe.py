# SPDX-License-Identifier: Apache-2.0
"""What frozen features are worth: foreground read by a linear classifier, released weights beside an untrained encoder.

    python benchmarks/linear_probe.py --weights bundles/universal_model_pretraining/models/model.pt \
        --datalist OPEN/datalists/hippocampus.json --dataset_dir SCANS --modality mri --spacing 1

Of each seed, five training scans, four patches of each, and a new untrained encoder; read out on the validation scans.
The weights are read out twice: normalized by their running statistics, and by each patch's own statistics, as the
untrained encoder is, which has no others. Prints areas under the ROC curve, and mean differences from the untrained
encoder's with 95 % intervals over seeds (Student's t).
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import fire
import numpy as np
from scipy import stats

from universal_model_components import UniversalModel
from universal_model_components.evaluation.live_probe import FeatureProbe, read_out
from universal_model_components.weights.provenance import read_provenance


def main(
    weights: str, datalist: str, dataset_dir: str, modality: str, spacing: float = 1.0, labels: int = 5, seeds: int = 5
) -> None:
    """Print the read-outs.

    Args:
        weights: with a provenance beside them.
        datalist: with "training" and "validation".
        dataset_dir: folder of its paths.
        modality: of the scans.
        spacing: of the patches, mm.
        labels: number of training scans.
        seeds: number of repetitions.
    """
    network = UniversalModel.from_pretrained(weights)
    stated = read_provenance(weights, {}) or {}
    recipe = {key: stated[key] for key in ("intensity_range", "intensity_scale", "patch_size")}
    recipe["spacing"] = [spacing] * 3
    content = json.loads(Path(datalist).read_text(encoding="utf-8"))
    areas = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(content["training"]))[:labels]
            chosen = {**content, "training": [content["training"][place] for place in order]}
            file = Path(folder) / "list.json"
            file.write_text(json.dumps(chosen), encoding="utf-8")
            probe = FeatureProbe(network, recipe, 1, str(file), dataset_dir, modality, seed)
            probe.read()
            own = copy.deepcopy(network.encoder).train()
            found = [read_out(encoder, **probe.patches) for encoder in (network.encoder.eval(), own)]
            areas.append([*found, probe.reference])
            print(f"seed {seed}: running statistics {found[0]:.3f}, own {found[1]:.3f}, untrained {areas[-1][2]:.3f}")
    running, own, untrained = np.transpose(areas)
    print(f"untrained: {untrained.mean():.3f} ± {untrained.std(ddof=1):.3f}")
    for name, area in (("running statistics", running), ("own statistics", own)):
        gain = area - untrained
        low, high = stats.ttest_1samp(gain, 0).confidence_interval(0.95)
        print(
            f"{name}: {area.mean():.3f} ± {area.std(ddof=1):.3f}, difference {gain.mean():+.3f}, "
            f"95 % {low:+.3f} to {high:+.3f}"
        )


if __name__ == "__main__":
    fire.Fire(main)
