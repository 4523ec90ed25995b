# SPDX-License-Identifier: Apache-2.0
"""Federated averaging of a target bundle in NVFLARE's simulator.

python nvflare_simulation.py --bundle …/left_atrium_ct_segmentation --data DATA --workspace WORK --settings s.json

DATA has a folder for each site, site-1, site-2, …, with its scans and datalist.json. The average is written below WORK.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from monai.bundle import ConfigParser
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv


def main() -> None:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--settings", required=True, help="JSON file of top-level config keys; {} for none")
    given = parser.parse_args()
    bundle, data, settings = (Path(path).resolve() for path in (given.bundle, given.data, given.settings))
    config = json.loads((bundle / "configs/inference.json").read_text()) | json.loads(settings.read_text())
    network = ConfigParser(config).get_parsed_content("network_def", instantiate=False).config
    sites = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    script = Path(__file__).with_name("nvflare_client.py")
    recipe = FedAvgRecipe(
        name="universal_model",
        model={"class_path": network.pop("_target_"), "args": network},
        min_clients=len(sites),
        num_rounds=given.rounds,
        train_script=str(script),
        train_args=f"{bundle} {data} {settings}",
        launch_external_process=True,
        command=f"{sys.executable} -u",
    )
    run = recipe.execute(SimEnv(clients=sites, num_threads=len(sites), workspace_root=given.workspace))
    models = sorted(Path(run.get_result()).rglob("FL_global_model.pt"))
    if not models:
        raise SystemExit(f"no averaged model below {given.workspace}: its logs say what failed")
    print(f"average of {len(sites)} sites after {given.rounds} rounds: {models[0]}")


if __name__ == "__main__":
    main()
