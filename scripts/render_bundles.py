# SPDX-License-Identifier: Apache-2.0
"""Render the task bundles: parts overlaid into complete files, so that no file of a bundle refers to another.

    python scripts/render_bundles.py            write bundles/<task>/… from scripts/bundle_parts/, and lay out the
                                                configs of the pre-training, which are written by hand
    python scripts/render_bundles.py --check    only compare; exit 1 and name every file that is stale

A file is common/<file>, overlaid by <kind>/<file>, by <task>/<file> where there is one, and by the task's settings of
tasks.json; <task>/<name>.md fills {{name}} in the kind's README. A mapping is merged key by key, anything else
replaced; a key "+name" appends to the list `name`, and a key with `::` goes deeper, as in MONAI. A value "<part>" must
be filled by an overlay. Overlays for MONAI itself (evaluate, multi_gpu_train) keep their "+name" and `::` keys.
Where a bundle has weights that are a demonstration, by their provenance, its texts and metadata say so.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from config_layout import lay_out, settings_first
from weights_terms import of_demonstration, with_section

from universal_model_components.utils.files import write_text

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = REPOSITORY / "scripts" / "bundle_parts"
BUNDLES = REPOSITORY / "bundles"
SYSTEMS = ("systems/i3d", "systems/dense_vnet", "systems/med3d")  # networks of the comparisons, of train and inference
OVERLAYS = ("evaluate", "multi_gpu_train", "inference_onnx", *SYSTEMS)
TO_FILL = "<part>"


def read(file: Path) -> Any:
    """Read JSON; an absent part is an empty one."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def overlay(base: Any, part: Mapping[str, Any]) -> Any:
    """Return `base` with `part` laid over it; neither is changed."""
    result = copy.deepcopy(base)
    for key, value in part.items():
        if "::" in key:
            first, rest = key.split("::", 1)
            place: Any = int(first) if isinstance(result, list) else first
            result[place] = overlay(result[place], {rest: value})
        elif isinstance(result, list):
            merge = isinstance(value, dict) and "_target_" not in value
            result[int(key)] = overlay(result[int(key)], value) if merge else copy.deepcopy(value)
        elif key.startswith("+"):
            result[key[1:]] = [*result[key[1:]], *copy.deepcopy(value)]
        elif isinstance(value, dict) and isinstance(result.get(key), dict) and "_target_" not in value:
            result[key] = overlay(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def join(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the parts of an overlay for MONAI together: its own "+name" and `::` keys stay."""
    joined: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            merge = isinstance(value, dict) and isinstance(joined.get(key), dict) and "_target_" not in value
            joined[key] = {**joined[key], **value} if merge else value
    return joined


def unfilled(config: Any, where: str = "") -> Iterator[str]:
    """Yield the ids whose value an overlay should have filled."""
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        if value == TO_FILL:
            yield f"{where}{key}"
        yield from unfilled(value, f"{where}{key}::")


def render_config(name: str, task: str, kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Render one config of a task; its settings go where the config has a key of that name."""
    parts = [read(PARTS / folder / f"{name}.json") for folder in ("common", kind, task)]
    if name in OVERLAYS:
        return join(parts)
    config: dict[str, Any] = {}
    for part in parts:
        config = overlay(config, part)
    for key, value in {"task": task, **settings}.items():
        if config.get(key) == f"$@trained['{key}']":  # what holds where the provenance of the weights does not state it
            config["trained"][key] = value
        elif key in config:
            config[key] = value
    missing = list(unfilled(config))
    if missing:
        raise SystemExit(f"{name}.json of {kind}: nothing fills {missing}")
    return settings_first(config)


def render_metadata(task: str, entry: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Render metadata.json: common, of the kind, of the task; the input's shape is the task's patch."""
    parts = [PARTS / "common" / "metadata.json", PARTS / entry["kind"] / "metadata.json"]
    metadata: dict[str, Any] = {}
    for part in [*parts, PARTS / "metadata" / f"{task}.json"]:
        metadata = overlay(metadata, read(part))
    version = re.search(r'__version__ = "(.+)"', (REPOSITORY / "universal_model_components/__init__.py").read_text())
    assert version is not None
    metadata["required_packages_version"]["universal-model-components"] = version[1]
    data = metadata["network_data_format"]
    shape = render_config("train", task, entry["kind"], entry["settings"])["patch_size"]
    for described in (data["inputs"]["image"], data["outputs"]["pred"]):
        if described["type"] == "image":
            described["spatial_shape"] = shape
    metadata.pop("data_license", None)
    if provenance:
        metadata["description"] += f". The weights in models/ are a demonstration: {provenance['demonstration']}"
    return metadata


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace {{name}} in a text; an unknown name is an error."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def weights_text(entry: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Say in the README which weights there are, and what is missing for those of the task."""
    what = "No weights are released with this bundle."
    if provenance:
        what = f"The weights in `models/` are a demonstration: {provenance['demonstration']}."
        what += " In section 4, `--bundle_root $B/.. --output_dir RESULTS` uses them."
        what += " None of the task itself are released."
    return textwrap.fill(f"{what} Missing to train them: {entry['missing']}.", 119)


def render_texts(task: str, entry: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, str]:
    """Render README and data license, and copy what is the same in every bundle."""
    metadata = read(PARTS / "metadata" / f"{task}.json")
    measured = PARTS / "measured" / f"{task}.md"
    values = {
        "task": task,
        "name": metadata["name"],
        "description": metadata["description"],
        "data_source": metadata["data_source"],
        "datalist": entry.get("datalist", "folder --root DATA --output DATA/datalist.json"),
        "notes": "\n".join(entry.get("notes", [])),
        "settings": "\n".join(f"| `{key}` | `{json.dumps(value)}` |" for key, value in entry["settings"].items()),
        "data_license": "\n".join(metadata["data_license"]),
        "weights": weights_text(entry, provenance),
        "contents": "no scans, and the weights described at the end" if provenance else "no scans and no weights",
        "patch": ",".join(map(str, render_config("train", task, entry["kind"], entry["settings"])["patch_size"])),
        "measured": measured.read_text(encoding="utf-8").strip() if measured.is_file() else "Nothing was measured yet.",
    }
    values |= {part.stem: part.read_text(encoding="utf-8").strip() for part in (PARTS / task).glob("*.md")}
    kind = PARTS / entry["kind"]
    terms = fill((PARTS / "common" / "data_license.txt").read_text(encoding="utf-8"), values)
    return {
        "docs/README.md": fill((kind / "README.md").read_text(encoding="utf-8"), values),
        "docs/data_license.txt": with_section(terms, of_demonstration(provenance)) if provenance else terms,
        "configs/logging.conf": (PARTS / "common" / "logging.conf").read_text(encoding="utf-8"),
        "large_files.yml": "large_files: []\n",
        "LICENSE": (REPOSITORY / "LICENSE").read_text(encoding="utf-8"),
        "models/.gitkeep": "",
    }


def _ordered(file: Path) -> dict[str, Any]:
    """Return a config with the keys that users set first; metadata have none."""
    return read(file) if file.name == "metadata.json" else settings_first(read(file))


def render(bundles: Path = BUNDLES) -> dict[Path, str]:
    """Return the content of every file of every task bundle, and of the configs of the pre-training."""
    by_hand = sorted((bundles / "universal_model_pretraining" / "configs").glob("*.json"))
    files = {file: lay_out(_ordered(file)) + "\n" for file in by_hand}
    for task, entry in read(PARTS / "tasks.json").items():
        configs = {name: render_config(name, task, entry["kind"], entry["settings"]) for name in ("train", "inference")}
        unknown = [key for key in entry["settings"] if not any(key in config for config in configs.values())]
        if unknown:
            raise SystemExit(f"tasks.json: {task} sets {unknown}, which no config of {entry['kind']} has")
        configs |= {name: render_config(name, task, entry["kind"], {}) for name in OVERLAYS}
        trained = configs["evaluate"]["trained"]  # what holds where no provenance states it: train.json's own values
        trained |= {key: configs["train"][key] for key, value in trained.items() if value == TO_FILL}
        provenance = read(bundles / task / "models" / "model.provenance.json")
        if "demonstration" not in provenance:  # not released: of a training in the bundle's own folder
            provenance = {}
        configs["metadata"] = render_metadata(task, entry, provenance)
        texts = {f"configs/{name}.json": lay_out(config) + "\n" for name, config in configs.items()}
        files |= {bundles / task / name: text for name, text in (texts | render_texts(task, entry, provenance)).items()}
    return files


def main(arguments: list[str], bundles: Path | None = None) -> int:
    """Write the bundles, or compare them; by default those of this repository."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    bundles, stale = bundles or BUNDLES, []
    for file, text in render(bundles).items():
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(file.relative_to(bundles.parent)))
        if not arguments:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
    for name in stale:
        print(f"{'stale, run scripts/render_bundles.py' if arguments else 'written'}: {name}")
    return 1 if stale and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
