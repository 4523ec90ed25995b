# SPDX-License-Identifier: Apache-2.0
"""Where the result for a scan is written: below the output folder, whatever the scan's path holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..imaging import dicom_header
from ..imaging.scan_files import stem

LONGEST = 200  # bytes of a name: file systems take 255, with the suffix of a result and that of a temporary file


def result_name(file: str | Path, root: str | Path) -> str:
    """Return the name of a scan's result: its path below a folder, without its suffix.

    A scan elsewhere keeps its path below the closest folder that contains both, so that the name never leads out of
    the output folder: `/site_a/x.nii.gz` is `site_a/x` where the folder is `/lists`.

    Args:
        file: of the scan.
        root: folder of the scans, `dataset_dir`.
    """
    parts = [part for part in Path(os.path.relpath(file, root)).parts if part != ".."]
    name = Path(*parts or [os.path.basename(os.path.abspath(file))])
    return name.with_suffix("").as_posix() if name.suffix.lower() in dicom_header.SUFFIXES else stem(name)


class ResultName:
    """A name formatter of MONAI's `SaveImaged`: results are written below its `output_dir`, as `result_name` says.

    Args:
        data_root_dir: folder of the scans, also `SaveImaged`'s.
    """

    def __init__(self, data_root_dir: str | Path) -> None:
        self.root = Path(data_root_dir)

    def __call__(self, meta: Mapping[str, Any], saver: Any) -> dict[str, Any]:
        """Return `subject`, a path below the root, and `idx`, which is None: a result is whole, not a patch.

        Args:
            meta: metadata of the result; without a file's name, as on a server, the saver's count is the name.
            saver: the `SaveImage` that calls.
        """
        file = (meta or {}).get("filename_or_obj")
        return {"subject": subject_of(file, self.root) if file else str(saver._data_index), "idx": None}


def subject_of(file: str | Path, root: str | Path) -> str:
    """Return a path below a folder from which MONAI's `FolderLayout` makes `result_name`, suffix and all."""
    return str(Path(root) / f"{result_name(file, root)}.nii.gz")
