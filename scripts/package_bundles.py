# SPDX-License-Identifier: Apache-2.0
"""Package the bundles: for any web server as zips, weights as files of their own, and a page that lists them; and for
the Hugging Face Hub as folders, weights included, for MONAI's `push_to_hf_hub`.

    python scripts/package_bundles.py --base_url https://example.org/universal-model --output dist/

A bundle's zip has the same bytes whenever and wherever it is made from the same files. Its weights stay outside: they
lie beside the zip, and the zip's large_files.yml names their URL and hash for `python -m monai.bundle
download_large_files`. A file that a bundle should not have, such as a scan somebody restored there, is refused.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import fire
import yaml
from model_card import CARD, MEASURED, render_card

from universal_model_components.utils.archives import check_zip, write_zip
from universal_model_components.utils.files import write_atomically
from universal_model_components.weights.large_files import file_hash
from universal_model_components.weights.loading import read_weights, trusted_weights
from universal_model_components.weights.provenance import provenance_file

REPOSITORY = Path(__file__).resolve().parents[1]
LISTED = ("LICENSE", "large_files.yml", "configs/*.json", "configs/logging.conf", "docs/*.md", "docs/*.png")
LISTED += ("configs/systems/*.json", "docs/data_license.txt", "models/.gitkeep")
WEIGHTS = ("models/model.pt", "models/model.safetensors")
PROVENANCE = "models/model.provenance.json"
HUB = "hub"  # folder of the output, for the folders to push
# to a file of this repository, which a hub does not have: only its text is kept
LINK_OR_IMAGE = re.compile(r"!?\[([^]]*)\]\((?!https?:|#)[^)]*\)")


def package(
    base_url: str, output: str = "dist", bundles: str = str(REPOSITORY / "bundles"), weights: str | None = None
) -> None:
    """Write BUNDLE_vVERSION.zip, BUNDLE_vVERSION_model.* and hub/BUNDLE of every bundle, SHA256SUMS and index.html.

    Args:
        base_url: where the files of `output` will be served.
        output: folder to write into; a wheel of the components that lies there is listed too.
        bundles: folder of bundles.
        weights: folder with BUNDLE/model.pt, model.safetensors and model.provenance.json, and evaluation.json and .csv
            for the model card; by default each bundle's own `models/`. A bundle without weights is packaged without.
    """
    base = str(base_url).rstrip("/")  # python-fire makes an option without a value True
    if urlparse(base).scheme not in ("http", "https") or not urlparse(base).netloc:
        raise ValueError(f"--base_url {base_url} is no address: give http(s)://host/path")
    folders = sorted(path.parent.parent for path in Path(bundles).glob("*/configs/metadata.json"))
    if not folders:
        raise ValueError(f"--bundles {bundles}: no bundle in it (BUNDLE/configs/metadata.json)")
    if weights is not None and not any((Path(weights) / folder.name).is_dir() for folder in folders):
        raise ValueError(f"--weights {weights}: no folder in it has the name of a bundle, such as {folders[0].name}")
    target = Path(output)
    entries = [_package(folder, base, target, None if weights is None else Path(weights)) for folder in folders]
    wheels = sorted(path.name for path in target.glob("*.whl"))
    names = [name for entry in entries for name in (entry["zip"], *entry["weights"])] + wheels
    sums = {name: file_hash(target / name) for name in names}
    write_atomically(target / "SHA256SUMS", lambda path: path.write_text(_sums(sums)))
    write_atomically(target / "index.html", lambda path: path.write_text(_page(entries, wheels, sums, base, target)))
    print(*(f"{target / name}" for name in [*names, "SHA256SUMS", "index.html"]), sep="\n")


def _package(folder: Path, base: str, target: Path, weights: Path | None) -> dict[str, Any]:
    """Write one bundle's zip and weights, and return what the page says of it."""
    name, metadata = folder.name, json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
    stem = f"{name}_v{metadata['version']}"
    members = {file: (folder / file).read_bytes() for file in _members(folder)}
    models = folder / "models" if weights is None else weights / name
    members[CARD] = render_card(folder, models, MEASURED / name if weights is None else models).encode()
    large, assets, included = [], [], {}
    for path in WEIGHTS:
        file = models / Path(path).name
        if file.is_file():
            asset = f"{stem}_{file.name}"
            content = included[path] = _trusted(file)
            write_atomically(target / asset, lambda beside, content=content: beside.write_bytes(content))
            large.append({"path": path, "url": f"{base}/{asset}", "hash_val": file_hash(target / asset)})
            large[-1]["hash_type"] = "sha256"
            assets.append(asset)
    if large:
        provenance = provenance_file(models / "model.pt")
        members |= {PROVENANCE: provenance.read_bytes()} if provenance.is_file() else {}
    _write_for_hub(target / HUB / name, members | included)
    if large:
        members["large_files.yml"] = yaml.safe_dump({"large_files": large}, sort_keys=False).encode()
    write_zip(target / f"{stem}.zip", {f"{name}/{path}": content for path, content in members.items()})
    check_zip(target / f"{stem}.zip")
    return {"name": name, "zip": f"{stem}.zip", "weights": assets, "metadata": metadata}


def _write_for_hub(folder: Path, members: dict[str, bytes]) -> None:
    """Write a bundle as its repository on the hub has it: README.md is the model card, followed by docs/README.md.

    There is no docs/README.md: MONAI's `push_to_hf_hub` would put it, under a header of its own, in the place of the
    card, which the hub shows first.
    """
    if folder.is_dir():
        shutil.rmtree(folder)  # a file that the bundle no longer has would be pushed too
    texts = dict(members)
    readme = LINK_OR_IMAGE.sub(r"\1", texts.pop("docs/README.md").decode())
    texts["README.md"] = texts.pop(CARD) + b"\n" + readme.encode()
    for path, content in texts.items():
        write_atomically(folder / path, lambda beside, content=content: beside.write_bytes(content))


def _members(folder: Path) -> list[str]:
    """List what goes into the zip.

    Raises:
        ValueError: when there is anything else in the folder, or a link.
    """
    files = [path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink()]
    names = [path.relative_to(folder).as_posix() for path in files]
    for path, name in zip(files, names, strict=True):
        # fnmatch's * matches folders too: a listed file is as deep as its pattern
        listed = any(fnmatchcase(name, one) and name.count("/") == one.count("/") for one in LISTED)
        if path.is_symlink() or not (listed or name in (*WEIGHTS, PROVENANCE)):
            raise ValueError(f"{path}: not one of a bundle's files ({', '.join(LISTED)}): move it away")
    return [name for name in names if name not in (*WEIGHTS, PROVENANCE)]


def _trusted(file: Path) -> bytes:
    """Return the bytes of a file of weights that loading would accept: whole, plain, and those of its provenance."""
    (read_weights if file.suffix == ".pt" else trusted_weights)(file)
    return file.read_bytes()


def _sums(sums: dict[str, str]) -> str:
    return "".join(f"{value}  {name}\n" for name, value in sorted(sums.items()))


def _page(entries: list[dict[str, Any]], wheels: list[str], sums: dict[str, str], base: str, target: Path) -> str:
    def link(name: str) -> str:
        size = (target / name).stat().st_size / 1e6
        return f'<a href="{html.escape(name)}">{html.escape(name)}</a> ({size:.1f} MB)<br><code>{sums[name]}</code>'

    rows = "".join(
        f"<h2>{html.escape(entry['metadata']['name'])}</h2><p>{html.escape(entry['metadata']['description'])}</p>"
        f"<p>{link(entry['zip'])}</p><p>{'<br>'.join(map(link, entry['weights'])) or 'no weights released'}</p>"
        f"<pre>python -m monai.bundle download --name {entry['name']} --bundle_dir . --url {html.escape(base)}/"
        f"{entry['zip']}\npython -m monai.bundle download_large_files --bundle_path {entry['name']}\n"
        f"python -m universal_model_components weights verify {entry['name']}</pre>"
        for entry in entries
    )
    packages = "".join(f"<p>{link(name)}</p><pre>pip install {html.escape(base)}/{name}</pre>" for name in wheels)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Universal Model bundles</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "pre{background:#f4f4f4;padding:.6em;overflow:auto}code{font-size:.8em;overflow-wrap:anywhere}</style></head>"
        "<body><h1>Universal Model bundles</h1><p>SHA-256 below each file, and in "
        '<a href="SHA256SUMS">SHA256SUMS</a>. For research, not for clinical use.</p>'
        f"{packages}{rows}</body></html>\n"
    )


if __name__ == "__main__":
    try:
        fire.Fire(package)
    except (ValueError, OSError) as error:
        sys.exit(f"package_bundles: {error}")
