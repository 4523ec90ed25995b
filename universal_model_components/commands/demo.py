# SPDX-License-Identifier: Apache-2.0
"""The `demo` command: from scans to a report, by the commands that a user would type.

Without `data` it draws synthetic scans; then it prepares cubes, pre-trains a narrow network with the modern recipe,
evaluates it on cases that it was not trained on, and writes a self-contained report. Each step is a separate
process with its own progress bar.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..cubes.store import read_index
from ..figures.panels import draw_scans
from ..figures.report import write_report
from ..phantom import write_labeled_phantoms, write_phantoms

BUNDLE = "bundles/universal_model_pretraining"


class Steps:
    """Run steps one after another, and record commands and durations.

    Raises:
        SystemExit: when a step fails; one line names it.
    """

    def __init__(self) -> None:
        self.done: list[tuple[str, str, float]] = []

    def call(self, name: str, description: str, function: Callable[[], object]) -> None:
        """Call a function of this process."""
        print(f"\n== {name}: {description}", flush=True)
        start = time.monotonic()
        function()
        self.done.append((name, description, time.monotonic() - start))

    def bundle(self, name: str, configs: list[Path], **settings: object) -> None:
        """Run `python -m monai.bundle run` on `configs` with top-level keys replaced."""
        files = str([str(file) for file in configs]) if len(configs) > 1 else str(configs[0])
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files]
        command += ["--logging_file", str(configs[0].parent / "logging.conf")]
        for key, value in settings.items():
            command += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
        shown = " ".join(["python", *command[1:]])

        def run() -> None:
            status = subprocess.run(command, check=False).returncode
            if status:
                raise SystemExit(f"demo: step {name!r} failed with exit code {status}; see the message above")

        self.call(name, shown, run)


def prepared_scans(cube_store: Path, folder: Path, limit: int = 12) -> list[Path]:
    """List scans that cubes were made of, alternating between the modalities."""
    cases = sorted(case["case"] for cases in read_index(cube_store)["splits"].values() for case in cases)
    by_modality = [list(names) for _, names in itertools.groupby(cases, lambda name: name.split("/")[0])]
    names = [name for row in itertools.zip_longest(*by_modality) for name in row if name is not None]
    return [folder / name for name in names][:limit]


def _check_folders(bundle: str, data: str | None) -> None:
    if not (Path(bundle) / "configs/train.json").is_file():
        raise SystemExit(f"demo: no bundle at {bundle} (configs/train.json is missing); give --bundle FOLDER")
    if data is not None and not Path(data).is_dir():
        raise SystemExit(f"demo: data folder {data} does not exist; give a folder with sub-folders ct and mri")


def _draw_labeled(steps: Steps, folder: Path, seed: int) -> dict[str, str]:
    """Draw labeled scans, and return the live probe's setting `probe_data` for them."""
    steps.call("label", "6 more with masks, for the live probe", lambda: write_labeled_phantoms(folder, 6, seed))
    return {"datalist": str(folder / "datalist.json"), "dataset_dir": str(folder), "modality": "mri"}


def demo(
    output: str = "demo",
    data: str | None = None,
    bundle: str = BUNDLE,
    cases: int = 6,
    epochs: int = 14,
    features: tuple[int, ...] = (8, 16, 32, 64),
    patch_size: tuple[int, ...] = (32, 32, 16),
    seed: int = 0,
) -> None:
    """Pre-train on scans, and write `<output>/report.html`.

    Args:
        output: folder for everything that the demo writes.
        data: folder of scans, in sub-folders named by modality (ct, mri); without it, synthetic scans are drawn.
        bundle: folder of the pre-training bundle.
        cases: synthetic scans of each modality.
        epochs: epochs of pre-training.
        features: width of the network's levels; the paper's is 64,128,256,512.
        patch_size: size of a cube in voxels; the paper's is 64,64,32.
        seed: seed of the scans, the cubes and the training.

    Raises:
        SystemExit: when the bundle or the data folder is missing, or a step fails; one line says why.
    """
    root, configs = Path(output).resolve(), Path(bundle).resolve() / "configs"
    _check_folders(bundle, data)
    scans = root / "scans" if data is None else Path(data).resolve()
    steps = Steps()
    interval, probe = max(1, epochs // 4), {}
    if data is None:
        steps.call("draw", f"{cases} synthetic scans of each modality", lambda: write_phantoms(scans, cases, seed))
        probe = {"probe_interval": interval, "probe_data": _draw_labeled(steps, root / "labeled", seed)}
    settings = {"bundle_root": str(root), "seed": seed}
    shape = {"patch_size": list(patch_size)}
    training = settings | {"features": list(features), "epochs": epochs, "batch_size": 12, "resume": False}
    files = [configs / "train.json", configs / "modern.json"]
    steps.bundle("prepare", [configs / "prepare.json"], dataset_dir=str(scans), **settings, **shape)
    steps.bundle("train", files, **training, panel_interval=interval, **probe)
    steps.bundle("evaluate", [*files, configs / "evaluate.json"], **training)
    report, picture = root / "report.html", root / "scans.png"
    source = "synthetic scans" if data is None else f"the scans in {Path(data).name}"
    draw_scans(prepared_scans(root / "cubes", scans), picture)
    write_report(root / "output", report, f"Pre-training on {source}", steps.done, scans=picture)
    print(f"\nThe report is at {report}")
