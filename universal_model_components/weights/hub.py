# SPDX-License-Identifier: Apache-2.0
"""Where weights are: a file, the folder of a bundle or of its models, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import errno
import logging
import re
from pathlib import Path

from ..utils.settings import to_optional

MODEL_FILES = ("model.pt", "model.safetensors")  # as training writes them; the first that is there
PLACES = ("models", ".")  # of these files in a bundle, and in a folder of models
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name
# owner/name.pt is a file that is missing
FILE_SUFFIXES = (".pt", ".pth", ".ts", ".onnx", ".ckpt", ".bin", ".safetensors")

logger = logging.getLogger(__name__)


def find_weights(source: str | Path, key: str = "pretrained_weights") -> Path:
    """Return the file of some weights; those of a repository are downloaded into the hub's cache.

    Args:
        source: a file (null, none and "" are none); a folder with `MODEL_FILES`, or with a folder `models` of them; or,
            where nothing has that path, `owner/name` of a repository with either, which needs the extra `hub`.
        key: start of the messages.

    Raises:
        FileNotFoundError: when there is no such file, or the folder or repository has none, or the hub does not answer.
    """
    if to_optional(source) is None or _is_too_long(Path(source)):
        raise FileNotFoundError(f"{key}: no file {source!r}: give a model.pt")
    path = Path(source)
    if path.is_dir():
        found = _in_folder(path)
        if found is None:
            raise FileNotFoundError(
                f"{key}: {path} has none of {MODEL_FILES}, nor has its models: train or download first, or give a file"
            )
        return found
    repository = REPOSITORY.fullmatch(str(source)) and path.suffix not in FILE_SUFFIXES
    if repository and isinstance(source, str) and not path.exists():
        return _download(source, key)
    if not path.is_file():
        raise FileNotFoundError(f"{key}: no file {path}: train or download first, or give another path")
    return path


def _is_too_long(path: Path) -> bool:
    """Tell whether no file can have this name."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _in_folder(folder: Path) -> Path | None:
    files = (folder / place / name for place in PLACES for name in MODEL_FILES)
    return next((file for file in files if file.is_file()), None)


def _download(repository: str, key: str) -> Path:
    """Download a repository's weights, with what they are checked against."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise FileNotFoundError(
            f"{key}: no file or folder {repository}; as a repository of the Hugging Face Hub it needs the extra: "
            'pip install "universal-model-components[hub]"'
        ) from None
    for name in MODEL_FILES:
        wanted = [f"models/{name}", name, "*.provenance.json", "large_files.yml"]
        try:
            folder = Path(snapshot_download(repository, allow_patterns=wanted))
        except Exception as error:  # the client's errors have no base in common
            raise FileNotFoundError(
                f"{key}: no file or folder {repository}, and no such repository was downloaded from the Hugging Face "
                f"Hub ({type(error).__name__}): give a path, or check name, connection and `hf auth login`"
            ) from error
        if found := _in_folder(folder):
            logger.info("%s: %s of the repository %s, in %s", key, name, repository, folder)
            return found
    raise FileNotFoundError(f"{key}: the repository {repository} has none of {MODEL_FILES}: give another")
