# SPDX-License-Identifier: Apache-2.0
"""What frozen features are worth: foreground read by a linear classifier, released weights beside an untrained encoder.

    python benchmarks/linear_probe.py --weights bundles/universal_model_pretraining/models/model.pt \
        --datalist OPEN/datalists/hippocampus.json --dataset_dir SCANS --modality mri --spacing 1

Of each seed, five training scans, four patches of each, and a new untrained encoder; read out on the validation scans.
Prints the area under the ROC curve of both, and the mean difference with its 95 % interval over seeds (Student's t).
"""

from __future__ import annotations

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
    content = json.loads(Path(datalist).read_text(encoding="utf-8"))
    trained, fresh = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(content["training"]))[:labels]
            chosen = {**content, "training": [content["training"][place] for place in order]}
            file = Path(folder) / "list.json"
            file.write_text(json.dumps(chosen), encoding="utf-8")
            recipe["spacing"] = [spacing] * 3
            probe = FeatureProbe(network, recipe, 1, str(file), dataset_dir, modality, seed)
            probe.read()
            fresh.append(probe.reference)
            trained.append(read_out(network.encoder.eval(), **probe.patches))
            print(f"seed {seed}: trained {trained[-1]:.3f}, untrained {fresh[-1]:.3f}", flush=True)
    gain = np.subtract(trained, fresh)
    half = stats.t.ppf(0.975, seeds - 1) * gain.std(ddof=1) / seeds**0.5
    print(f"trained {np.mean(trained):.3f} ± {np.std(trained, ddof=1):.3f}", end=", ")
    print(f"untrained {np.mean(fresh):.3f} ± {np.std(fresh, ddof=1):.3f}", end=", ")
    print(f"difference {gain.mean():+.3f}, 95 % {gain.mean() - half:+.3f} to {gain.mean() + half:+.3f}")


if __name__ == "__main__":
    fire.Fire(main)
