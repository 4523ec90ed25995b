# SPDX-License-Identifier: Apache-2.0
"""Which scans weights may be released for, and what the weights that they started from must state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from universal_model_components.weights.continuation import describe_ancestor
from universal_model_components.weights.loading import trusted_weights
from universal_model_components.weights.provenance import tensors_sha256


def match_sources(scans: Iterable[str], sources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sort scans by their source, and replace the patterns of each source by the scans.

    Raises:
        ValueError: when a scan has no source.
    """
    found: list[dict[str, Any]] = [{**source, "scans": []} for source in sources]
    for scan in scans:
        places = [place for place, source in enumerate(sources) if _is_from(scan, source)]
        if not places:
            raise ValueError(
                f"{scan}: not in released_scans.json: exclude it from training, or add its source and license"
            )
        found[places[0]]["scans"].append(scan)
    return [source for source in found if source["scans"]]


def _is_from(scan: str, source: Mapping[str, Any]) -> bool:
    return any(fnmatchcase(scan, pattern) for pattern in source["scans"])


def named_from(root: Path, image: str) -> str:
    """Return a scan's path below a folder, by which sources name it.

    Raises:
        ValueError: when it is not below.
    """
    if not Path(image).is_relative_to(root):
        raise ValueError(
            f"data: {image} is not below {root}: give the folder that released_scans.json names scans from"
        )
    return Path(image).relative_to(root).as_posix()


def find_ancestor(weights: str | None, identity: str | None) -> dict[str, Any] | None:
    """Describe the released weights that a training started from, as a continued pre-training does; None for none.

    Args:
        weights: file that the provenance names.
        identity: by which the checkpoint knows them.

    Raises:
        FileNotFoundError: when the file is gone.
        ValueError: when its weights are others now, or have no license.
    """
    if weights is None:
        return None
    found, provenance = trusted_weights(weights)
    sha256, stated = tensors_sha256(found.state), provenance or {}
    if not str(identity).endswith(sha256[:16]):
        raise ValueError(f"pretrained_weights: {weights} has changed since the training, it was {identity}: restore it")
    if "license" not in stated:
        raise ValueError(f"pretrained_weights: {weights} states no license: start from released weights")
    return describe_ancestor(found.name, sha256, stated)


def check_license(ancestor: Mapping[str, Any], license_name: str) -> None:
    """Check that weights that started from others can be under the license that their own scans ask for.

    Raises:
        ValueError: when the others have another one.
    """
    if ancestor["license"] != license_name:
        found = f"{ancestor['license']!r}, the scans ask for {license_name!r}"
        raise ValueError(f"pretrained_weights: their license is {found}: start from weights under that one")


def check_unseen(ancestor: Mapping[str, Any], scans: Iterable[str], sources: Sequence[Mapping[str, Any]]) -> None:
    """Check that the weights that a training started from were not trained on scans of a person in the test cases.

    Within a source, files of one name are scans of one person, such as a CT and an MRI. A test case that no source has
    is compared by its path alone.

    Raises:
        ValueError: when they were.
    """
    trained = [(source["source"], scan) for source in ancestor.get("scans", []) for scan in source["scans"]]
    files = {scan: scan for _, scan in trained}
    people = {(source, PurePosixPath(scan).name): scan for source, scan in trained}
    found = []
    for scan in sorted(scans):
        persons = [(source["source"], PurePosixPath(scan).name) for source in sources if _is_from(scan, source)]
        seen = files.get(scan) or next((people[person] for person in persons if person in people), None)
        if seen is not None:
            found.append(scan if seen == scan else f"{scan} (the same person as in {seen})")
    if found:
        raise ValueError(f"datalist: the pretrained_weights saw these test cases: {', '.join(found)}: take them out")
